package scenario

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"fanin/e2e/check"
	"fanin/e2e/load"
	"fanin/e2e/rig"
	"fanin/sink/distribute"
)

// crew is an agent of a fleet and the program whose log it follows.
type crew struct {
	agent  *rig.Agent
	writer *load.Writer
}

func (c *crew) files() (n int) {
	for _, lines := range c.writer.Written() {
		if lines > 0 {
			n++
		}
	}
	return n
}

// fleetSize is how many agents a fleet has, besides the day's own.
const fleetSize = 10

// Fleet is everything over NATS at once: ten agents and a few others over a cluster of
// three servers, a collector, and three workers on a JetStream work queue. In each
// round one of each is lost: a server, the collector, an agent, a worker.
func (p *Programs) Fleet(n int) (*Result, error) {
	program, err := p.ledgerWorker()
	if err != nil {
		return nil, err
	}
	cluster, dir, err := p.cluster(3)
	if err != nil {
		return nil, err
	}
	defer cluster.Kill()
	d, err := p.begin(plan{name: "nats-fleet", nats: cluster, via: natsStream, slow: true, calm: true, log: rotating + fmt.Sprintf(
		"[[collector.nats]]\nurl = %q\nsubjects = [\"logs.>\"]\nstream = %q\ncreate = true\nreplicas = 3\ntail = \"fanin.tail\"\n"+
			"[collector.nats.work]\ngroup = \"fleet\"\nfrom = \"start\"\nstream = \"WORK\"\ncreate = true\nreplicas = 3\n", cluster.URL, natsStream)})
	if err != nil {
		return nil, err
	}
	if err := d.muster(p.Agent); err != nil {
		d.fail(err)
	}
	g := &gang{group: "fleet", dir: dir, program: program, workers: make([]*rig.Process, gangSize)}
	for i := range g.workers {
		d.fail(g.startNATS(i, cluster.URL))
	}
	for range n {
		moment(time.Second)
		if err := d.loseOneOfEach(g); err != nil {
			d.fail(err)
			break
		}
	}
	r, err := d.settleFleet(n, g)
	if err == nil {
		os.RemoveAll(dir)
	}
	return r, err
}

// muster starts the agents, every other one through the stream.
func (d *day) muster(program string) error {
	for i := range fleetSize {
		sources := filepath.Join(d.dir, fmt.Sprintf("sources-%d", i))
		if err := os.MkdirAll(sources, 0o750); err != nil {
			return err
		}
		via := ""
		if i%2 == 0 {
			via = natsStream
		}
		c := &crew{
			agent:  rig.NewNATSAgent(program, d.dir, d.nats.URL, via, fmt.Sprintf("host-%d", i), rig.Keys{}, filepath.Join(sources, "*.log*")),
			writer: &load.Writer{Dir: sources, Name: "app.log", First: (10 + i) * writerSources, Burst: 2, Pause: 10 * time.Millisecond, Rotate: 500},
		}
		d.crews = append(d.crews, c)
		d.writing.Go(func() { d.fail(c.writer.Run(d.stop)) }) // ends by stop
		if err := c.agent.Start(); err != nil {
			return err
		}
	}
	return nil
}

// startNATS starts worker i on the work queue, with a new ledger.
func (g *gang) startNATS(i int, url string) error {
	ledger := filepath.Join(g.dir, fmt.Sprintf("%s-%d.ledger", g.group, len(g.ledgers)))
	g.ledgers = append(g.ledgers, ledger)
	g.workers[i] = &rig.Process{Path: g.program, Wait: "working", Args: []string{"-nats", url, "-stream", "WORK", "-ledger", ledger}}
	return g.workers[i].Start()
}

func (d *day) loseOneOfEach(g *gang) error {
	if err := d.strikeServer(true, 0); err != nil {
		return err
	}
	moment(300 * time.Millisecond)
	if err := d.killOnce(true, false); err != nil {
		return err
	}
	moment(300 * time.Millisecond)
	c := d.crews[rand.IntN(len(d.crews))]
	c.agent.Kill()
	if rand.IntN(4) == 0 {
		if err := os.RemoveAll(c.agent.State); err != nil {
			return err
		}
	}
	if err := c.agent.Start(); err != nil {
		return err
	}
	i := rand.IntN(gangSize)
	g.workers[i].Kill()
	return g.startNATS(i, d.nats.URL)
}

// settleFleet lets everything come to rest and holds the workers' ledgers, and the
// log, against what was sent.
func (d *day) settleFleet(rounds int, g *gang) (*Result, error) {
	close(d.stop)
	d.writing.Wait()
	d.stop = make(chan struct{}) // end closes it again
	written, kept := d.sent()
	errs := []error{d.err}
	if d.err == nil {
		errs = append(errs, d.agent.Drained(d.files(written), 2*time.Minute))
		for _, c := range d.crews {
			errs = append(errs, c.agent.Drained(c.files(), 2*time.Minute))
		}
		errs = append(errs, d.carried(2*time.Minute), d.worked(3*time.Minute))
	}
	for _, w := range g.workers {
		w.Stop()
	}
	for src, n := range written {
		if _, some := kept[src]; !some {
			kept[src] = n
		}
	}
	if errors.Join(errs...) == nil {
		h := check.HandOut{Ledgers: g.ledgers, Kept: kept}
		r, err := h.Check()
		switch {
		case err != nil:
			errs = append(errs, err)
		case !r.OK() || r.Accepted == 0:
			errs = append(errs, fmt.Errorf("the work queue: %s\n%q", r, r.First))
		default:
			fmt.Fprintf(os.Stderr, "%-26s %s\n", "work queue", r)
		}
	}
	if err := errors.Join(errs...); err != nil {
		d.fail(err)
	}
	return d.end(rounds)
}

// carried waits until the group's lines are all in the work queue.
func (d *day) carried(patience time.Duration) error {
	var groups []distribute.GroupStatus
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if err := d.collector.Ask("GET", "/groups", &groups); err != nil {
			return err
		}
		if len(groups) == 1 && groups[0].LagLines == 0 {
			return nil
		}
	}
	return fmt.Errorf("the group's lines are not all in the work queue: %+v\n%s", groups, lastOf(d.collector.Output()))
}

// worked waits until the work queue is empty: each message in it goes when a worker
// has acknowledged it.
func (d *day) worked(patience time.Duration) error {
	nc, err := d.nats.Connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	left := uint64(0)
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		s, err := js.Stream(ctx, "WORK")
		cancel()
		if err != nil {
			continue
		}
		if left = s.CachedInfo().State.Msgs; left == 0 {
			return nil
		}
	}
	return fmt.Errorf("%d messages are left in the work queue", left)
}
