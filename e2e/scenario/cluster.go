package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"fanin/e2e/check"
	"fanin/e2e/load"
	"fanin/e2e/rig"
	"fanin/internal/cluster"
)

// Shape is how large a cluster is.
type Shape struct {
	Servers, Members, Partitions, Agents int
}

// WholeCluster is the shape that is tortured.
var WholeCluster = Shape{Servers: 3, Members: 3, Partitions: 16, Agents: 10}

// cluster is a cluster of collectors, and the agents that send to it.
type clusterDay struct {
	Shape
	dir     string
	nats    *rig.NATS
	members []*rig.Member
	cuts    [][]*rig.Cuts // of each member, to each server
	agents  []*rig.Agent
	writers []*load.Writer
	done    chan struct{}
	failed  chan error
}

// clusterTakeover is after how long a member is replaced.
const clusterTakeover = 3 * time.Second

// ClusterFaults lives through n faults of a cluster: a collector or a NATS server is killed, paused,
// or cut off, and partitions move meanwhile. In the end, the tenures of all partitions together are
// held against what was sent.
func ClusterFaults(s Shape) func(*Programs, int) (*Result, error) {
	return func(p *Programs, n int) (*Result, error) {
		d, err := p.newCluster(s)
		if err != nil {
			return nil, err
		}
		defer d.kill()
		return d.rounds("cluster, faults and moves", n, d.fault)
	}
}

// ClusterPauses pauses a member n times, at any moment of its commits, until others own all that it
// had. Then it continues, and must not make anything known any more.
func ClusterPauses(s Shape) func(*Programs, int) (*Result, error) {
	return func(p *Programs, n int) (*Result, error) {
		d, err := p.newCluster(s)
		if err != nil {
			return nil, err
		}
		defer d.kill()
		r, err := d.rounds("cluster, pauses", n, d.pause)
		fenced := func(m *rig.Member) bool { return strings.Contains(m.Output(), fencedMessage) }
		if err == nil && !slices.ContainsFunc(d.members, fenced) {
			return r, errors.New("no owner was replaced while it was paused: nothing was tested")
		}
		return r, err
	}
}

// fencedMessage is logged by an owner that continues and finds that it was replaced.
const fencedMessage = "another collector owns the partition now"

// rounds has n faults, at random moments.
func (d *clusterDay) rounds(name string, n int, fault func() error) (*Result, error) {
	for i := range n {
		moment(time.Second)
		if err := fault(); err != nil {
			return nil, fmt.Errorf("fault %d: %w\n%s", i, err, d.said())
		}
	}
	return d.end(name, n)
}

// pause pauses a member until the others own its partitions.
func (d *clusterDay) pause() error {
	i := rand.IntN(len(d.members))
	m, other := d.members[i], d.members[(i+1)%len(d.members)]
	id, err := os.ReadFile(filepath.Join(m.State, "member"))
	if err != nil {
		return err
	}
	m.Pause()
	defer m.Signal(syscall.SIGCONT)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		var st cluster.Status
		if err := other.Ask("GET", "/cluster", &st); err != nil {
			continue // it was just started, or waits for NATS
		}
		has := func(p cluster.PartitionStatus) bool { return p.Owner == strings.TrimSpace(string(id)) || p.Owner == "" }
		if len(st.Partitions) == d.Partitions && !slices.ContainsFunc(st.Partitions, has) {
			return nil
		}
	}
	return fmt.Errorf("the partitions of member %d were not taken over", i)
}

func (p *Programs) newCluster(s Shape) (*clusterDay, error) {
	servers, dir, err := p.cluster(s.Servers)
	if err != nil {
		return nil, err
	}
	d := &clusterDay{Shape: s, dir: dir, nats: servers, done: make(chan struct{}), failed: make(chan error, s.Agents)}
	for i := range s.Members {
		var urls []string
		var cuts []*rig.Cuts
		for _, u := range strings.Split(servers.URL, ",") {
			c, err := rig.NewCuts(strings.TrimPrefix(u, "nats://"))
			if err != nil {
				return nil, err
			}
			cuts, urls = append(cuts, c), append(urls, "nats://"+c.Addr)
		}
		d.cuts = append(d.cuts, cuts)
		table := fmt.Sprintf("url = %q\nname = %q\npartitions = %d\ntakeover_after = \"%s\"\ncreate = true\nreplicas = %d\n",
			strings.Join(urls, ","), natsStream, s.Partitions, clusterTakeover, s.Servers)
		m, err := rig.NewMember(p.Collector, filepath.Join(dir, fmt.Sprintf("member%d", i)), rotating, table)
		if err != nil {
			return nil, err
		}
		d.members = append(d.members, m)
		if err := m.Start(); err != nil {
			return nil, err
		}
	}
	return d, d.startAgents(p)
}

// startAgents starts the agents, and the programs whose files they follow.
func (d *clusterDay) startAgents(p *Programs) error {
	for i := range d.Agents {
		logs := filepath.Join(d.dir, fmt.Sprintf("box%d", i))
		if err := os.MkdirAll(logs, 0o750); err != nil {
			return err
		}
		w := &load.Writer{Dir: logs, Name: "app.log", Seed: load.Seed(i), First: 1000 * i, Pause: 20 * time.Millisecond,
			Burst: 5, Rotate: 2000}
		d.writers = append(d.writers, w)
		go func() { d.failed <- w.Run(d.done) }() // ends with done
		a := rig.NewNATSAgent(p.Agent, d.dir, d.nats.URL, natsStream, fmt.Sprintf("box%d", i), rig.Keys{},
			filepath.Join(logs, "*"))
		d.agents = append(d.agents, a)
		if err := a.Start(); err != nil {
			return err
		}
	}
	return nil
}

// fault is one fault, and a move of a partition at the same time.
func (d *clusterDay) fault() error {
	m := d.members[rand.IntN(len(d.members))]
	moved := make(chan struct{})
	go func() { defer close(moved); d.move() }() // waited for below
	defer func() { <-moved }()
	switch rand.IntN(6) {
	case 0:
		m.Kill()
		moment(2 * clusterTakeover)
		return m.Start()
	case 1: // for longer than takeover_after, or not
		m.Pause()
		moment(3 * clusterTakeover)
		m.Signal(syscall.SIGCONT)
	case 2:
		for _, c := range d.cuts[rand.IntN(len(d.cuts))] {
			c.Cut()
		}
	case 3:
		s := d.nats.Servers[rand.IntN(len(d.nats.Servers))]
		s.Kill()
		moment(time.Second)
		return errors.Join(s.Start(), d.nats.Ready(30*time.Second))
	case 4:
		s := d.nats.Servers[rand.IntN(len(d.nats.Servers))]
		s.Pause()
		moment(2 * clusterTakeover)
		s.Signal(syscall.SIGCONT)
		return d.nats.Ready(30 * time.Second)
	case 5:
		if _, err := m.Stop(); err != nil {
			return err
		}
		return m.Start()
	}
	return nil
}

// move moves a partition to some member. It may not live.
func (d *clusterDay) move() {
	from, p := d.members[rand.IntN(len(d.members))], rand.IntN(d.Partitions)
	id, err := os.ReadFile(filepath.Join(d.members[rand.IntN(len(d.members))].State, "member"))
	if err != nil {
		return
	}
	q := url.Values{"partition": {strconv.Itoa(p)}, "to": {strings.TrimSpace(string(id))}}
	from.Ask("POST", "/cluster/move?"+q.Encode(), nil) // the member that is asked may be dead
}

// end waits until everything was sent, stops all, and checks it.
func (d *clusterDay) end(name string, n int) (*Result, error) {
	close(d.done)
	written := make(map[int]int)
	for _, w := range d.writers {
		if err := <-d.failed; err != nil {
			return nil, err
		}
		for src, lines := range w.Written() {
			written[src] = lines
		}
	}
	for _, a := range d.agents {
		if err := a.Drained(1, 3*time.Minute); err != nil {
			return nil, fmt.Errorf("%w\n%s", err, d.said())
		}
		if _, err := a.Stop(); err != nil {
			return nil, err
		}
	}
	for _, m := range d.members {
		if _, err := m.Stop(); err != nil {
			return nil, err
		}
	}
	r := &Result{Name: name, Rounds: n}
	files, err := d.union()
	if err != nil {
		return nil, err
	}
	checked, err := check.Files(files, written)
	if err != nil {
		return nil, err
	}
	if r.Result = *checked; !r.OK() {
		return r, fmt.Errorf("%s\n%s\n%s", r, strings.Join(r.First, "\n"), d.said())
	}
	return r, nil
}

// said is what the members said last.
func (d *clusterDay) said() string {
	var b strings.Builder
	for i, m := range d.members {
		fmt.Fprintf(&b, "member %d said last:\n%s\n", i, lastOf(m.Output()))
	}
	return b.String()
}

// union writes the lines of each partition to a file.
func (d *clusterDay) union() (files []string, err error) {
	nc, err := d.nats.Connect()
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	kv, err := js.KeyValue(ctx, "fanin-"+natsStream)
	if err != nil {
		return nil, err
	}
	for p := range d.Partitions {
		e, err := kv.Get(ctx, "tenures."+strconv.Itoa(p))
		if err != nil {
			return nil, fmt.Errorf("tenures of partition %d: %w", p, err)
		}
		var tenures []cluster.Tenure
		if err := json.Unmarshal(e.Value(), &tenures); err != nil {
			return nil, err
		}
		path := filepath.Join(d.dir, fmt.Sprintf("partition%d", p))
		if err := check.Tenures(path, tenures, d.logs(p)); err != nil {
			return nil, fmt.Errorf("partition %d: %w\n%s", p, err, e.Value())
		}
		files = append(files, path)
	}
	return files, nil
}

// logs are all logs of a partition, by their ids.
func (d *clusterDay) logs(p int) map[string]check.Place {
	all := make(map[string]check.Place)
	for _, m := range d.members {
		var at check.Place
		at.Log, at.State = m.Partition(p)
		if id, err := at.ID(); err == nil {
			all[id] = at
		}
	}
	return all
}

func (d *clusterDay) kill() {
	for _, a := range d.agents {
		a.Kill()
	}
	for i, m := range d.members {
		m.Kill()
		for _, c := range d.cuts[i] {
			c.Close()
		}
	}
	d.nats.Kill()
}
