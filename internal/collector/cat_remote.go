package collector

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"fanin/internal/cluster"
	"fanin/internal/daemon"
	"fanin/internal/escape"
	"fanin/sink/depot"
	"fanin/sink/merge"
)

// ofCluster returns the partitions of a cluster, and says whose lines were not found.
func (x *cat) ofCluster(ctx context.Context, l *clusterLogs) ([]catPartition, error) {
	var err error
	if l.archive, err = x.archiveOf(); err != nil {
		return nil, err
	}
	all, err := l.partitions(ctx)
	if err == nil && len(all) == 0 {
		err = daemon.Exitf(daemon.ExitFailure, "no log of any partition of the cluster was found")
	}
	for p, absent := range l.absent {
		x.reportAbsent(p, absent, l.archive != nil)
	}
	return all, err
}

// reportAbsent says which lines of a partition are elsewhere, or lost.
func (x *cat) reportAbsent(p int, absent []cluster.Tenure, archived bool) {
	for _, t := range absent {
		where := "which was not asked"
		if archived {
			where += ", and not in the archive; if its disk is lost, run fanin-collector cluster recover " +
				strconv.Itoa(p)
		}
		escape.Fprintf(x.stderr, "partition %d: the lines of epoch %d from %s on are at the collector %s, %s\n",
			p, t.Epoch, t.From, t.Owner, where)
	}
}

// archiveOf is the archive that has logs whose collectors are not asked; nil: none is named.
func (x *cat) archiveOf() (*depot.Depot, error) {
	if len(x.args) == 0 {
		if x.o.config == "" {
			return nil, nil
		}
		if s, err := x.o.load(); err != nil || s.Collector.Archive == nil {
			return nil, err
		}
	}
	return x.o.depot(&x.archive, x.args)
}

// collectors are the logs of collectors that are asked over HTTP. Those of members of a cluster are its partitions;
// others count as partitions in the order of their URLs.
func (x *cat) collectors(ctx context.Context) (all []catPartition, format string, err error) {
	targets := make([]*target, len(x.urls))
	for i, u := range x.urls {
		at := x.remote
		at.connect = strings.TrimSuffix(u, "/")
		if targets[i], err = at.target(); err != nil {
			return nil, "", err
		}
	}
	r := &remoteLogs{targets: targets, follow: x.follow, logs: make(map[string]*merge.Remote)}
	if list, err := r.find(ctx); !errors.Is(err, errNoCluster) {
		if err != nil {
			return nil, "", err
		}
		for _, p := range list {
			format = p.Format
		}
		all, err = x.ofCluster(ctx, &clusterLogs{find: r.find})
		return all, format, err
	}
	for i, to := range targets {
		log := r.remote(to, nil)
		if err := log.Begin(ctx); err != nil {
			return nil, "", err
		}
		if i > 0 && log.Format() != format {
			return nil, "", daemon.Exitf(daemon.ExitFailure, "%s has lines in the format %s, and %s in the format %s: "+
				"they cannot be printed as one log", to.name, log.Format(), x.urls[0], format)
		}
		format = log.Format()
		all = append(all, catPartition{number: i, tenures: []merge.Tenure{{Log: log}}})
	}
	return all, format, nil
}

// remoteLogs finds the logs of partitions at members of a cluster.
type remoteLogs struct {
	targets []*target
	follow  bool
	logs    map[string]*merge.Remote // by the id of the log
}

// errNoCluster is the error of a collector that is no member of a cluster.
var errNoCluster = errors.New("it is no member of a cluster")

// find asks all members.
func (r *remoteLogs) find(ctx context.Context) (all []partitionLog, err error) {
	for _, to := range r.targets {
		var list []partitionLog
		err := running(to.ask(ctx, "GET", "/partitions", &list))
		var answer *answerError
		if errors.As(err, &answer) && answer.code == http.StatusNotFound {
			return nil, errNoCluster
		}
		if err != nil {
			return nil, err
		}
		for _, x := range list {
			if x.Partition < 0 || x.Partition > merge.MaxPartition {
				return nil, daemon.Exitf(daemon.ExitFailure, "%s has a partition %d", to.name, x.Partition)
			}
			if r.logs[x.Log] == nil {
				log := r.remote(to, url.Values{"partition": {strconv.Itoa(x.Partition)}})
				if err := log.Begin(ctx); err != nil {
					return nil, err
				}
				r.logs[x.Log] = log
			}
			x.source = r.logs[x.Log]
			all = append(all, x)
		}
	}
	return all, nil
}

func (r *remoteLogs) remote(to *target, q url.Values) *merge.Remote {
	return &merge.Remote{Client: to.client, URL: to.base, Query: q, Follow: r.follow, Failed: to.unreachable}
}
