package collector

import (
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"fanin/internal/config"
	"fanin/internal/config/tables"
	"fanin/internal/natsconn"
)

// clusterTable is [collector.cluster]: several collectors share the partitions of one JetStream
// stream, and each partition has a log of its own.
type clusterTable struct {
	URL      string            `toml:"url"`
	TLS      *tables.ClientTLS `toml:"tls"`
	Insecure bool              `toml:"insecure"`
	tables.NATSLogin

	Name          string           `toml:"name"`
	Partitions    *int             `toml:"partitions"`
	TakeoverAfter *config.Duration `toml:"takeover_after"`
	Create        bool             `toml:"create"`
	Replicas      *int             `toml:"replicas"`
	WorkAddress   string           `toml:"work_address"`

	Agents    *string  `toml:"agents"`
	Subjects  []string `toml:"subjects"`
	Host      string   `toml:"host"`
	TrustHost bool     `toml:"trust_host"`
	relaysTable
}

const (
	defaultPartitions    = 16
	defaultTakeoverAfter = config.Duration(30 * time.Second)

	// partitionMark stands for the number of the partition in the path of the log.
	partitionMark = "{partition}"
)

func (t *clusterTable) partitions() int { return config.Or(t.Partitions, defaultPartitions) }

func (t *clusterTable) takeoverAfter() time.Duration {
	return time.Duration(config.Or(t.TakeoverAfter, defaultTakeoverAfter))
}

// nats is the input of one partition.
func (t *clusterTable) nats() *natsTable {
	return &natsTable{URL: t.URL, TLS: t.TLS, Insecure: t.Insecure, NATSLogin: t.NATSLogin, Agents: t.Agents,
		Subjects: t.Subjects, Host: t.Host, TrustHost: t.TrustHost, relaysTable: t.relaysTable,
		natsStream: natsStream{Stream: t.Name, Create: t.Create, Replicas: t.Replicas}}
}

// check reports the mistakes in the table, and what does not go with it.
func (t *clusterTable) check(c *checks) {
	if !goodName.MatchString(t.Name) {
		c.Problem("name", "name is %q; want the name of the cluster and of its JetStream stream, as in "+
			"name = \"LOGS\": letters, digits, '_' and '-'", t.Name)
	}
	c.Between("partitions", t.Partitions, 1, natsconn.MaxPartitions)
	if d := t.takeoverAfter(); d < time.Second || d > time.Hour {
		c.Problem("takeover_after", "takeover_after is %s; want 1s to 1h", d)
	}
	host, port, err := net.SplitHostPort(t.WorkAddress)
	if t.WorkAddress != "" && (err != nil || host == "" || port == "") {
		c.Problem("work_address", "work_address is %q; want a host and a port, as in work_address = "+
			"\"log-1.example.net:6791\"", t.WorkAddress)
	}
	t.nats().check(c)
}

// checkCluster reports what does not go with a cluster, or needs one.
func (s *settings) checkCluster() {
	c, at := &s.Collector, s.file.Table("collector")
	if c.Cluster == nil {
		if strings.Contains(c.Log.Path, partitionMark) {
			at.Sub("log").Problem("path", "path contains %s, and there is no [collector.cluster]", partitionMark)
		}
		return
	}
	c.Cluster.check(&checks{Table: at.Sub("cluster"), insecure: s.insecure})
	if !strings.Contains(c.Log.Path, partitionMark) {
		at.Sub("log").Problem("path", "path is %q; with [collector.cluster] it must contain %s, as in "+
			"path = \"/var/log/fanin/%s/all.log\": each partition has a log of its own", c.Log.Path, partitionMark,
			partitionMark)
	}
	for _, x := range c.Inputs {
		s.file.Problem(x.at, "with [collector.cluster], lines come through its stream alone: publish them to the NATS "+
			"server, or let an agent with to = [\"nats://...\"] and a stream send them")
	}
	if c.Relay != nil {
		at.Sub("relay").Problem("", "a cluster does not forward its logs: remove one of [collector.relay] and "+
			"[collector.cluster]")
	}
}

// clusterState is the default directory for the state of a member: beside what has the logs of all
// partitions.
func clusterState(path string) string {
	before, _, _ := strings.Cut(path, partitionMark)
	return filepath.Join(filepath.Dir(before+"x"), ".cluster.fanin")
}

// shareSpace gives a partition its part of the collector's disk. All partitions have one, also those of
// other collectors: one that takes all of them over has the space for them.
func (c *collectorTable) shareSpace() {
	share := func(whole config.Size) config.Size {
		if whole <= 0 {
			return whole // it is off
		}
		return max(whole/config.Size(c.Cluster.partitions()), 1)
	}
	l := &c.Log
	if l.KeepBytes = share(l.KeepBytes); l.KeepBytes > 0 && l.RotateSize > 0 {
		l.RotateSize = min(l.RotateSize, max(l.KeepBytes/4, leastRotateSize)) // the live file counts, and stays
	}
	if c.Archive != nil && c.Archive.Keep != nil {
		own, keep := *c.Archive, share(*c.Archive.Keep)
		own.Keep = &keep
		c.Archive = &own
	}
	if c.Work != nil {
		own := *c.Work
		own.KeepForGroups = share(own.KeepForGroups)
		c.Work = &own
	}
}

// ofPartition are the settings of the log of one partition.
func (s *settings) ofPartition(p int) *settings {
	own := *s
	c := &own.Collector
	c.State = filepath.Join(s.state(), strconv.Itoa(p))
	c.Log.Path = strings.ReplaceAll(c.Log.Path, partitionMark, strconv.Itoa(p))
	own.partition = strconv.Itoa(p)
	c.shareSpace()
	c.HTTP, c.Cluster, c.Inputs = nil, nil, nil
	c.Inputs.put("nats", s.Collector.Cluster.nats())
	return &own
}
