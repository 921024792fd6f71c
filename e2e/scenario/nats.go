package scenario

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"fanin/e2e/load"
	"fanin/e2e/rig"
)

// natsStream is the JetStream stream of these days.
const natsStream = "LOGS"

// NATSDay is a day on which lines come over NATS: an agent's, through the stream or
// not, two witnesses', one of each kind, and plain ones that another client publishes into
// the stream. A fault befalls it again and again.
type NATSDay struct {
	Name      string
	Servers   int
	Via       bool // the agent's batches go through the stream
	Fault     func(d *day) error
	Wiped     bool // the fault destroys what the stream held
	Calm      bool // little is written
	Forgetful bool // the stream remembers message ids for a moment only
	Text      text // how lines are read
}

// NATSDays are all of them.
func NATSDays() []NATSDay {
	killed := func(d *day) error { return d.strikeServer(true, 0) }
	restarted := func(d *day) error { return d.strikeServer(false, 0) }
	collector := func(d *day) error { return d.killOnce(true, false) }
	agent := func(d *day) error { return d.killOnce(false, true) }
	wiped := func(d *day) error {
		d.nats.Servers[0].Kill()
		return errors.Join(d.nats.Wipe(0), d.nats.Servers[0].Start())
	}
	away := func(d *day) error { return d.strikeServer(true, 2*shortWindow) }
	return []NATSDay{
		{Name: "nats-server-killed", Servers: 1, Fault: killed},
		{Name: "nats-server-killed-via", Servers: 1, Via: true, Fault: killed},
		{Name: "nats-server-restarted", Servers: 1, Via: true, Fault: restarted},
		{Name: "nats-node-lost", Servers: 3, Via: true, Fault: killed},
		{Name: "nats-node-lost-core", Servers: 3, Fault: killed},
		{Name: "nats-collector", Servers: 1, Fault: collector},
		{Name: "nats-collector-via", Servers: 1, Via: true, Fault: collector},
		{Name: "nats-agent", Servers: 1, Fault: agent},
		{Name: "nats-agent-via", Servers: 1, Via: true, Fault: agent},
		{Name: "nats-wiped", Servers: 1, Via: true, Fault: wiped, Wiped: true},
		{Name: "nats-away", Servers: 1, Via: true, Fault: away, Forgetful: true},
	}
}

// LongAway is a day on which the server is away for longer than a stream remembers
// message ids unless it is told otherwise: ten minutes.
func LongAway() NATSDay {
	return NATSDay{Name: "nats-away-long", Servers: 1, Via: true, Calm: true, Fault: func(d *day) error { return d.strikeServer(true, 10*time.Minute+30*time.Second) }}
}

// shortWindow is how long the stream remembers message ids on a day with ServerAway.
const shortWindow = 100 * time.Millisecond

// strikeServer ends a server of the cluster and starts it again.
func (d *day) strikeServer(kill bool, away time.Duration) error {
	s := d.nats.Servers[rand.IntN(len(d.nats.Servers))]
	if kill {
		s.Kill()
	} else if _, err := s.Stop(); err != nil {
		return err
	}
	time.Sleep(away)
	moment(200 * time.Millisecond)
	if err := s.Start(); err != nil {
		return err
	}
	if len(d.nats.Servers) == 1 {
		return nil
	}
	// A cluster has a majority at any time, and then catches up.
	return d.nats.Ready(30 * time.Second)
}

// cluster starts servers in a directory of their own.
func (p *Programs) cluster(servers int) (cluster *rig.NATS, dir string, err error) {
	return p.servers(func(program, dir string) (*rig.NATS, error) { return rig.NewNATS(program, dir, servers, "") })
}

// splitCluster is cluster with a network between the servers that can be cut.
func (p *Programs) splitCluster(servers int) (cluster *rig.NATS, dir string, err error) {
	return p.servers(func(program, dir string) (*rig.NATS, error) { return rig.NewSplitNATS(program, dir, servers) })
}

// servers starts servers in a directory of their own.
func (p *Programs) servers(of func(program, dir string) (*rig.NATS, error)) (cluster *rig.NATS, dir string, err error) {
	if p.NATS == "" {
		if p.NATS, err = rig.BuildNATS(p.Dir); err != nil {
			return nil, "", err
		}
	}
	if dir, err = os.MkdirTemp(p.Dir, "nats-"); err != nil {
		return nil, "", err
	}
	if cluster, err = of(p.NATS, dir); err != nil {
		return nil, "", err
	}
	if err := cluster.Start(); err != nil {
		cluster.Kill()
		return nil, "", err
	}
	return cluster, dir, nil
}

// OverNATS lives through n rounds of such a day.
func (p *Programs) OverNATS(x NATSDay, n int) (*Result, error) {
	cluster, dir, err := p.cluster(x.Servers)
	if err != nil {
		return nil, err
	}
	defer cluster.Kill()
	pl := plan{name: x.Name, nats: cluster, slow: x.Text.agent == "", text: x.Text, calm: x.Calm, wiped: x.Wiped, log: rotating + fmt.Sprintf(
		"[[collector.nats]]\nurl = %q\nsubjects = [\"logs.>\"]\nstream = %q\ncreate = true\nreplicas = %d\n", cluster.URL, natsStream, x.Servers)}
	if x.Via {
		pl.via = natsStream
	}
	if x.Forgetful {
		pl.before = func() error { return forgetful(cluster) }
	}
	d, err := p.begin(pl)
	if err != nil {
		return nil, err
	}
	r, err := d.rounds(n, func(int) error {
		moment(400 * time.Millisecond)
		return x.Fault(d)
	})
	if err == nil {
		os.RemoveAll(dir)
	}
	return r, err
}

// forgetful makes the stream remember message ids for a moment only.
func forgetful(n *rig.NATS) error {
	nc, err := n.Connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		var s jetstream.Stream
		if s, err = js.Stream(ctx, natsStream); err == nil {
			c := s.CachedInfo().Config
			c.Duplicates = shortWindow
			_, err = js.UpdateStream(ctx, c)
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond) // the collector is about to make it
	}
}

// publisher publishes plain lines into the stream, one or a few to a message. What
// the stream acknowledged has to be in the log. After a message whose outcome it does
// not know it begins another source.
type publisher struct {
	nats *rig.NATS
	mu   sync.Mutex
	all  []published
}

type published struct{ sent, acked int }

func newPublisher(n *rig.NATS) *publisher { return &publisher{nats: n} }

func (p *publisher) run(stop <-chan struct{}) error {
	nc, err := p.nats.Connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	p.all = append(p.all, published{})
	for {
		select {
		case <-stop:
			return nil
		case <-time.After(2 * time.Millisecond):
		}
		source, at := len(p.all)-1, &p.all[len(p.all)-1]
		few := 1 + rand.IntN(5)
		text := load.Seed(0).Block(nil, publishSources+source, at.sent, few)
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		p.mu.Lock()
		at.sent += few
		p.mu.Unlock()
		_, err := js.Publish(ctx, fmt.Sprintf("logs.app%d", source%3), text, jetstream.WithRetryAttempts(0))
		cancel()
		p.mu.Lock()
		if err == nil {
			at.acked = at.sent
		} else {
			p.all = append(p.all, published{})
		}
		p.mu.Unlock()
	}
}

// sent adds what was published, and what of it was acknowledged.
func (p *publisher) sent(written, kept map[int]int, wiped bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, x := range p.all {
		if x.sent == 0 {
			continue
		}
		written[publishSources+i], kept[publishSources+i] = x.sent, x.acked
		if wiped {
			kept[publishSources+i] = 0 // the stream itself forgot it
		}
	}
}
