package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fanin/e2e/rig"
	"fanin/internal/cluster"
	"fanin/internal/natsconn"
)

// clusterTrial is a way through a JetStream stream to one collector, or to several that share it.
type clusterTrial struct {
	name    string
	members int // of a cluster; 0: there is one collector, and no cluster
	sync    string
	bare    bool // the server alone, see engine
}

// sharing is the name of the workload.
const sharing = "cluster"

const (
	clusterPartitions = 16
	clusterStream     = "LINES"
	oneCollector      = "one collector"
	threeCollectors   = "3 collectors, 16 partitions"
	oneConsumer       = "the server alone, 1 consumer"
	sixteenConsumers  = "the server alone, 16 consumers"
)

func clusterTrials() []clusterTrial {
	return []clusterTrial{
		{oneCollector, 0, "none", false}, {threeCollectors, 3, "none", false},
		{oneCollector + ", sync commit", 0, "commit", false}, {threeCollectors + ", sync commit", 3, "commit", false},
		{oneConsumer, 0, "", true}, {sixteenConsumers, 3, "", true},
	}
}

func (b *bench) clusterWorkloads() (list []workload) {
	for _, t := range clusterTrials() {
		list = append(list, workload{kind: "chain", name: sharing, fits: func(subject) bool { return true },
			measure: func(subject) (sample, error) { return b.clusterTrial(t) }, subjects: []subject{{name: t.name, ours: true}}})
	}
	return list
}

// sharers are the programs of such a trial.
type sharers struct {
	dir        string
	nats       *rig.NATS
	collectors []*trial
	agents     []*process
}

// clusterTrial measures one of the trials.
func (b *bench) clusterTrial(x clusterTrial) (sample, error) {
	if x.bare {
		return b.engine(x)
	}
	return b.shared(x)
}

// shared sends the lines of so many files by as many agents, each of another partition.
func (b *bench) shared(x clusterTrial) (r sample, err error) {
	s := &sharers{dir: filepath.Join(b.dir, "trial")}
	defer os.RemoveAll(s.dir)
	defer s.stop()
	if err := errors.Join(emptied(s.dir), b.startServer(s), b.startCollectors(s, x)); err != nil {
		return r, err
	}
	each := b.lines / clusterPartitions
	profiled := b.profile(s.collectors[0], "cluster-"+x.name, b.lines)
	cpu, server, begun := s.cpu(), cpuOf(s.nats.Servers[0].PID()), time.Now()
	if err := b.startAgents(s, each); err != nil {
		return r, err
	}
	r.Seconds = s.landed().Sub(begun).Seconds()
	r.CPU, r.ServerCPU = s.cpu()-cpu, cpuOf(s.nats.Servers[0].PID())-server
	for _, c := range s.collectors {
		r.Peak += c.memory("VmHWM")
	}
	for _, a := range s.agents {
		r.AgentCPU, r.AgentRSS = r.AgentCPU+a.cpu(), r.AgentRSS+a.memory("VmHWM")
	}
	<-profiled
	if err := s.stop(); err != nil {
		return r, err
	}
	c := newCounter(clusterPartitions, each)
	for _, path := range s.logs() {
		if err := c.file(path); err != nil {
			return r, err
		}
	}
	r.Bytes, r.tally = s.size(), c.end()
	return r, nil
}

// emptied makes an empty directory.
func emptied(dir string) error { return errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o750)) }

// startServer starts a NATS server that keeps everything beside the logs.
func (b *bench) startServer(s *sharers) (err error) {
	if b.natsServer == "" {
		if b.natsServer, err = rig.BuildNATS(b.dir); err != nil {
			return err
		}
	}
	if s.nats, err = rig.NewNATS(b.natsServer, filepath.Join(s.dir, "nats"), 1, ""); err != nil {
		return err
	}
	return s.nats.Start()
}

// startCollectors starts the collectors, and waits until each has its share.
func (b *bench) startCollectors(s *sharers, x clusterTrial) error {
	for i := range max(1, x.members) {
		dir := filepath.Join(s.dir, fmt.Sprintf("collector%d", i))
		path, table := "all.log", fmt.Sprintf("[[collector.nats]]\nurl = %q\nstream = %q\ncreate = true\n", s.nats.URL, clusterStream)
		if x.members > 0 {
			path = filepath.Join("{partition}", "all.log")
			table = fmt.Sprintf("[collector.cluster]\nurl = %q\nname = %q\npartitions = %d\ncreate = true\n", s.nats.URL,
				clusterStream, clusterPartitions)
		}
		config := fmt.Sprintf("[collector]\nstate = \"state\"\n[collector.log]\npath = %q\nsync = %q\nrotate_size = \"off\"\n"+
			"keep_bytes = \"off\"\n%s", filepath.Join("logs", path), x.sync, table)
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, "logs"), 0o750), write(dir, "collector.toml", config)); err != nil {
			return err
		}
		p, err := start(dir, nil, b.collector, "--config", "collector.toml")
		if err != nil {
			return err
		}
		s.collectors = append(s.collectors, &trial{process: p, dir: dir, subject: subject{name: x.name, ours: true}})
	}
	if x.members == 0 {
		return ready(s.collectors[0])
	}
	return s.spread()
}

// settled is how long the partitions have to stay where they are: a collector opens them in that time.
const settled = 2 * time.Second

// spread waits until the partitions are spread over the collectors, and stay there.
func (s *sharers) spread() error {
	since := time.Now()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		var st cluster.Status
		text, err := s.collectors[0].ask("/cluster")
		if err != nil || json.Unmarshal(text, &st) != nil {
			since = time.Now()
			continue // it was just started
		}
		has := make(map[string]int)
		for _, p := range st.Partitions {
			has[p.Owner]++
		}
		least := clusterPartitions
		for _, n := range has {
			least = min(least, n)
		}
		if has[""] > 0 || len(has) < len(s.collectors) || least < clusterPartitions/len(s.collectors) {
			since = time.Now()
		}
		if time.Since(since) > settled {
			return nil
		}
	}
	return s.collectors[0].failed(errors.New("the partitions were not spread"))
}

// startAgents starts an agent for each partition. Their names, and those of their files, have one length, so that one
// collector and several write the same number of bytes.
func (b *bench) startAgents(s *sharers, each int) error {
	for i, id := range partitionIDs() {
		source, err := b.sourceOf(i, each)
		if err != nil {
			return err
		}
		file := filepath.Join(s.dir, fmt.Sprintf("in-%02d.log", i))
		config := fmt.Sprintf("[agent]\nid = %q\nstate = %q\ncompress = \"none\"\nto = [%q]\n[agent.nats]\nstream = %q\n[[agent.file]]\npaths = [%q]\n",
			id, "agent-"+id, s.nats.URL, clusterStream, file)
		if err := errors.Join(os.Link(source, file), write(s.dir, id+".toml", config)); err != nil {
			return err
		}
		a, err := start(s.dir, nil, b.agent, "--config", id+".toml")
		if err != nil {
			return err
		}
		s.agents = append(s.agents, a)
	}
	return nil
}

// partitionIDs are the ids of agents of all partitions.
func partitionIDs() map[int]string {
	ids := make(map[int]string)
	for i := 0; len(ids) < clusterPartitions; i++ {
		id := fmt.Sprintf("bench-%04d", i)
		ids[natsconn.Partition(natsconn.Subjects("fanin").Batch(id), clusterPartitions)] = id
	}
	return ids
}

// logs are the files of all logs.
func (s *sharers) logs() []string {
	one, _ := filepath.Glob(filepath.Join(s.dir, "collector*", "logs", "all.log"))
	several, _ := filepath.Glob(filepath.Join(s.dir, "collector*", "logs", "*", "all.log"))
	return append(one, several...)
}

// size is that of all logs.
func (s *sharers) size() (n int64) {
	for _, path := range s.logs() {
		if fi, err := os.Stat(path); err == nil {
			n += fi.Size()
		}
	}
	return n
}

// landed waits until the logs grow no more, and returns when they grew last.
func (s *sharers) landed() (last time.Time) {
	had := int64(-1)
	for last = time.Now(); time.Since(last) < stall; time.Sleep(20 * time.Millisecond) { // more often costs some percent of a processor
		if n := s.size(); n != had {
			had, last = n, time.Now()
		}
	}
	return last
}

func (s *sharers) cpu() (seconds float64) {
	for _, c := range s.collectors {
		seconds += c.cpu()
	}
	return seconds
}

// stop stops everything that runs still.
func (s *sharers) stop() (err error) {
	for _, a := range s.agents {
		err = errors.Join(err, a.stop())
	}
	for _, c := range s.collectors {
		err = errors.Join(err, c.stop())
	}
	if s.nats != nil {
		s.nats.Kill()
	}
	s.agents, s.collectors, s.nats = nil, nil, nil
	return err
}

func (b *bench) sharingTable(out *strings.Builder) {
	var rows [][]string
	for _, r := range b.results.of(sharing) {
		base := oneCollector
		switch {
		case strings.HasSuffix(r.subject, "commit"):
			base += ", sync commit"
		case strings.HasSuffix(r.subject, "consumer"), strings.HasSuffix(r.subject, "consumers"):
			base = oneConsumer
		}
		rows = append(rows, []string{r.subject, r.text((*sample).speed, "%.2f"), b.ratio(r, base, (*sample).speed),
			r.text((*sample).agentPerM, "%.2f") + " + " + r.text((*sample).serverPerM, "%.2f") + " + " + r.text((*sample).cpuPerM, "%.2f"),
			r.text((*sample).agentPeak, "%.0f") + " / " + r.text((*sample).peak, "%.0f"), r.wrong()})
	}
	table(out, "16 agents, a file each, JetStream (1 server), collectors; "+million(b.lines)+" lines, each acknowledged by a collector",
		[]string{"", "M lines/s", "x one collector", "CPU s per M, agents + server + collectors", "peak MiB, agents / collectors",
			"lost / doubled / reordered / torn"}, rows)
}
