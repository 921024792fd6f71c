package scenario

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fanin/e2e/check"
	"fanin/e2e/load"
	"fanin/e2e/rig"
	"fanin/internal/cluster"
	"fanin/internal/freeport"
)

// Shape is how large a cluster is.
type Shape struct {
	Servers, Members, Partitions, Agents int

	Archive bool   // the members have one
	Log     string // lines of their [collector.log] tables; default: files are small
}

// WholeCluster is the shape that is tortured.
var WholeCluster = Shape{Servers: 3, Members: 3, Partitions: 16, Agents: 10}

// clusterDay is a cluster of collectors, the agents that send to it, and a program that publishes.
type clusterDay struct {
	Shape
	dir       string
	nats      *rig.NATS
	net       clusterNet
	members   []*rig.Member
	urls      []string // of the members, over HTTP
	work      []string // where they hand lines out
	agents    []*rig.Agent
	writers   []*load.Writer
	publisher *publisher
	auditor   *auditor
	tenures   map[int][]cluster.Tenure // by partition, in the end
	gang      *gang                    // the workers that the lines are handed out to
	done      chan struct{}
	failed    chan error
}

// clusterTakeover is after how long a member is replaced.
const clusterTakeover = 3 * time.Second

// ClusterFaults lives through n faults of a cluster: a collector, a NATS server or an agent is killed,
// paused or cut off, or two of them from each other, and partitions move meanwhile. In the end, the
// tenures of all partitions together are held against what was sent, and so is what `cat` prints.
func ClusterFaults(s Shape) func(*Programs, int) (*Result, error) {
	return s.play("cluster, faults and moves", func(d *clusterDay) func() error {
		kinds := &deck[func() error]{all: d.faults()}
		return func() error { return d.whileMoving(kinds.deal()) }
	}, nil)
}

// ClusterSplits splits n times the network between two servers, or between a collector and a server:
// every pair, one after the other. Partitions move meanwhile.
func ClusterSplits(s Shape) func(*Programs, int) (*Result, error) {
	return s.play("cluster, splits and moves", func(d *clusterDay) func() error {
		pairs := &deck[link]{all: d.net.pairs()}
		return func() error {
			return d.whileMoving(func() error { pairs.deal().sever(struck); return d.nats.Ready(30 * time.Second) })
		}
	}, nil)
}

// ClusterMoves moves partitions, and stops and starts collectors in order, n times. Then no line stands
// in two files.
func ClusterMoves(s Shape) func(*Programs, int) (*Result, error) {
	return s.play("cluster, planned moves", func(d *clusterDay) func() error {
		return func() error { return d.whileMoving(d.stopMember) }
	}, (*clusterDay).nothingTwice)
}

// ClusterPauses pauses a member n times, at any moment of its commits, until others own all that it
// had. Then it continues, writes at most what it was about to, and makes nothing known any more.
func ClusterPauses(s Shape) func(*Programs, int) (*Result, error) {
	return s.play("cluster, pauses", func(d *clusterDay) func() error { return d.pause }, (*clusterDay).fenced)
}

// play plays a day on which something befalls a cluster of this shape again and again. after is what
// must hold in the end, besides; nil: nothing.
func (s Shape) play(name string, befalls func(*clusterDay) func() error, after func(*clusterDay, *Result) error) func(
	*Programs, int) (*Result, error) {
	return func(p *Programs, n int) (*Result, error) {
		d, err := p.newCluster(s)
		if err != nil {
			return nil, err
		}
		defer d.kill()
		fault := befalls(d)
		for i := range n {
			moment(time.Second)
			if err := fault(); err != nil {
				return nil, fmt.Errorf("fault %d: %w\n%s", i, err, d.said())
			}
		}
		return d.end(&Result{Name: name, Rounds: n}, after)
	}
}

func (p *Programs) newCluster(s Shape) (*clusterDay, error) {
	servers, dir, err := p.splitCluster(s.Servers)
	if err != nil {
		return nil, err
	}
	d := &clusterDay{Shape: s, dir: dir, nats: servers, net: clusterNet{routes: servers.Routes}, publisher: newPublisher(servers),
		tenures: make(map[int][]cluster.Tenure), done: make(chan struct{}), failed: make(chan error, s.Agents+1)}
	for range s.Members {
		err = errors.Join(err, d.addMember(p))
	}
	for range s.Agents {
		err = errors.Join(err, d.addAgent(p))
	}
	if err == nil {
		d.auditor, err = newAuditor(servers)
	}
	if err == nil && !s.Archive { // else a disk may be lost, and with it where the workers' group was
		err = d.addWorkers(p)
	}
	if err != nil {
		d.kill()
		return nil, err
	}
	go func() { d.failed <- d.publisher.run(d.done) }() // ends with done
	return d, nil
}

// addMember starts one more member.
func (d *clusterDay) addMember(p *Programs) error {
	cuts, url, err := connect(d.nats)
	if err != nil {
		return err
	}
	ports, err := freeport.Find(2)
	if err != nil {
		return err
	}
	http, work := fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	table := fmt.Sprintf("url = %q\nname = %q\npartitions = %d\ntakeover_after = \"%s\"\ncreate = true\nreplicas = %d\n"+
		"subjects = [\"logs.>\"]\nwork_address = %q\n[collector.http]\nlisten = %q\n[collector.work]\nlisten = %[6]q\nretry = \"2ms\"\nattempts = 4\n",
		url, natsStream, d.Partitions, clusterTakeover, d.Servers, work, http)
	if d.Archive {
		dir := filepath.Join(d.dir, "archive")
		table += fmt.Sprintf("[collector.archive]\nto = %q\n", "file://"+dir)
		err = os.MkdirAll(dir, 0o750)
	}
	m, merr := rig.NewMember(p.Collector, filepath.Join(d.dir, fmt.Sprintf("member%d", len(d.members))), cmp.Or(d.Log, rotating), table)
	err = errors.Join(err, merr)
	if err != nil {
		return err
	}
	d.net.members = append(d.net.members, cuts)
	d.members, d.urls, d.work = append(d.members, m), append(d.urls, "http://"+http), append(d.work, work)
	return m.Start()
}

// addAgent starts one more agent, and the program whose files it follows.
func (d *clusterDay) addAgent(p *Programs) error {
	cuts, url, err := connect(d.nats)
	if err != nil {
		return err
	}
	d.net.agents = append(d.net.agents, cuts)
	i := len(d.agents)
	logs := filepath.Join(d.dir, fmt.Sprintf("box%d", i))
	if err := os.MkdirAll(logs, 0o750); err != nil {
		return err
	}
	w := &load.Writer{Dir: logs, Name: "app.log", Seed: load.Seed(i), First: writerSources * i, Pause: 20 * time.Millisecond,
		Burst: 5, Rotate: 2000}
	d.writers = append(d.writers, w)
	go func() { d.failed <- w.Run(d.done) }() // ends with done
	a := rig.NewNATSAgent(p.Agent, d.dir, url, natsStream, fmt.Sprintf("box%d", i), rig.Keys{}, filepath.Join(logs, "*"))
	d.agents = append(d.agents, a)
	return a.Start()
}

// sent waits until everything was sent and is acknowledged, and stops the agents.
func (d *clusterDay) sent() (*check.Expect, error) {
	close(d.done)
	for range len(d.writers) + 1 {
		if err := <-d.failed; err != nil {
			return nil, err
		}
	}
	x := &check.Expect{Written: make(map[int]int), Kept: make(map[int]int)}
	for _, w := range d.writers {
		for src, lines := range w.Written() {
			x.Written[src] = lines
		}
	}
	d.publisher.sent(x.Written, x.Kept, false)
	for _, a := range d.agents {
		if err := a.Drained(1, 3*time.Minute); err != nil {
			return nil, fmt.Errorf("%w\n%s", err, d.said())
		}
		if _, err := a.Stop(); err != nil {
			return nil, err
		}
	}
	if err := d.emptied(time.Minute); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, d.said())
	}
	return x, nil
}

// end waits until everything was sent, stops all, and checks it.
func (d *clusterDay) end(r *Result, after func(*clusterDay, *Result) error) (*Result, error) {
	x, err := d.sent()
	if err != nil {
		return nil, err
	}
	if err := d.handedOut(x, 2*time.Minute); err != nil {
		return nil, err
	}
	printed, err := d.printed()
	if err != nil {
		return nil, err
	}
	for _, m := range d.members {
		if _, err := m.Stop(); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(d.auditor.end(), d.check(r, x, printed)); err != nil || after == nil {
		return r, err
	}
	return r, after(d, r)
}

// check holds what `cat` printed, and the tenures of all partitions, against what was sent. It counts what the files
// have besides.
func (d *clusterDay) check(r *Result, x *check.Expect, printed string) error {
	files, err := d.union()
	if err != nil {
		return err
	}
	for _, list := range [][]string{{printed}, files} {
		checked, err := x.Files(list)
		if err != nil {
			return err
		}
		if r.Result = *checked; !r.OK() {
			return fmt.Errorf("%s\n%s\n%s", r, strings.Join(r.First, "\n"), d.said())
		}
	}
	if files, err = d.raw(); err != nil {
		return err
	}
	all, err := x.Files(files)
	if err == nil {
		r.Unknown = all.Lines - r.Lines
	}
	return err
}

// nothingTwice checks that no line is in two files: all lines of all files are in tenures.
func (d *clusterDay) nothingTwice(r *Result) error {
	if r.Unknown > 0 {
		return fmt.Errorf("%s: lines are in two files\n%s", r, d.said())
	}
	return nil
}

// said is what the members said last.
func (d *clusterDay) said() string {
	var b strings.Builder
	for i, m := range d.members {
		fmt.Fprintf(&b, "member %d said last:\n%s\n", i, lastOf(m.Output()))
	}
	return b.String()
}

// kill ends all that runs.
func (d *clusterDay) kill() {
	d.endWorkers()
	for _, a := range d.agents {
		a.Kill()
	}
	for _, m := range d.members {
		m.Kill()
	}
	d.net.close()
	d.nats.Kill()
}
