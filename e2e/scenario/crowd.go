package scenario

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"fanin/e2e/check"
	"fanin/e2e/load"
	"fanin/e2e/rig"
)

// Crowd is a day of many agents, see load.Crowd: they connect, send for a while, and the collector
// is killed some times meanwhile.
type Crowd struct {
	load.Crowd
	For      time.Duration // steady, before the first kill
	Kills    int
	Sync     string // of the log: "commit" or "none"
	TLS      bool   // each agent has a certificate of its own
	Resume   bool   // agents keep their TLS sessions
	Table    string // more lines of [collector.log]
	InFlight string // max_in_flight; "": the default
	Split    bool   // the collector has one processor, and the agents another

	Say func(format string, args ...any) // what happens; nil: nothing is said
}

// crowdDay is a day under way.
type crowdDay struct {
	*Crowd
	collector *rig.Collector
	arrivals  *check.Arrivals
	report    CrowdReport
}

// Crowd lives through a day of a crowd.
func (p *Programs) Crowd(c *Crowd) (*CrowdReport, error) {
	dir, err := os.MkdirTemp(p.Dir, "crowd-")
	if err != nil {
		return nil, err
	}
	d := &crowdDay{Crowd: c}
	if c.Say == nil {
		c.Say = func(string, ...any) {}
	}
	table := fmt.Sprintf("sync = %q\n%s", c.Sync, c.Table)
	if d.collector, err = rig.NewCollector(p.Collector, dir, filepath.Join(dir, "log"), table); err != nil {
		return nil, err
	}
	d.collector.Listener = fmt.Sprintf("max_conns = %d\n", c.Agents+c.Agents/10+100)
	if c.InFlight != "" {
		d.collector.Settings = fmt.Sprintf("max_in_flight = %q\n", c.InFlight)
	}
	if err := d.prepare(dir); err != nil {
		return nil, err
	}
	if err := d.live(); err != nil {
		return &d.report, fmt.Errorf("%w; all is kept in %s", err, dir)
	}
	return &d.report, os.RemoveAll(dir)
}

// CrowdKills kills the collector of a thousand agents, n times.
func (p *Programs) CrowdKills(n int) (*Result, error) {
	c := &Crowd{For: time.Second, Kills: n, Sync: "commit"}
	c.Agents, c.Least, c.Most, c.Burst, c.Restarts = 1000, 10, 30, 40, 0.05
	r, err := p.Crowd(c)
	if r == nil {
		return nil, err
	}
	return &Result{Name: "kill collector, crowd", Rounds: n, Result: r.Result}, err
}

// prepare makes certificates, and divides the processors.
func (d *crowdDay) prepare(dir string) error {
	d.Addrs = []string{d.collector.Addr}
	if d.Split {
		if err := d.split(); err != nil {
			return err
		}
	}
	if !d.TLS {
		return nil
	}
	authority, err := rig.NewCertificates(dir)
	if err != nil {
		return err
	}
	d.collector.Listener += fmt.Sprintf("tls = {cert = %q, key = %q, client_ca = %q}\n", authority.Server,
		authority.Key, authority.CA)
	configs := make([]*tls.Config, d.Agents)
	for n := range configs {
		own, err := authority.Sign(load.CrowdName(n))
		if err != nil {
			return err
		}
		configs[n] = &tls.Config{RootCAs: authority.Pool, Certificates: []tls.Certificate{own}}
		if d.Resume {
			configs[n].ClientSessionCache = tls.NewLRUClientSessionCache(1)
		}
	}
	d.Crowd.Crowd.TLS = func(n int) *tls.Config { return configs[n] }
	return nil
}

// live is the day from the first start to the last check.
func (d *crowdDay) live() error {
	if err := d.collector.Start(); err != nil {
		return err
	}
	defer d.collector.Kill()
	began := time.Now()
	d.Begin(began)
	d.arrivals = check.WatchArrivals(d.collector.Log, d.Agents, d.Due)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ran := make(chan error, 1)
	go func() { ran <- d.Run(ctx) }() // ends by stop, and by a promise that was broken
	broken := func(err error) error {
		stop()
		if rerr := <-ran; rerr != nil {
			return rerr // it explains why the others did not come about
		}
		return err
	}
	if err := d.back(began, &d.report.Connected); err != nil {
		return broken(err)
	}
	if err := d.caughtUp(); err != nil {
		return broken(err)
	}
	time.Sleep(settling)
	d.steady()
	for range d.Kills {
		if err := d.kill(); err != nil {
			return broken(err)
		}
	}
	d.End()
	if err := d.caughtUp(); err != nil {
		return broken(err)
	}
	if err := broken(nil); err != nil {
		return err
	}
	return d.settle()
}

// glance is how often the day looks at all agents.
const glance = 50 * time.Millisecond

// settling is how long lines that waited until an agent was connected may take to be visible. They are
// not of the steady part.
const settling = 2 * time.Second

// patience is how long the day waits for what must come about, without a step forward.
const patience = time.Minute

// back waits until all agents have a session that began after a time.
func (d *crowdDay) back(since time.Time, took *time.Duration) error {
	for best, moved := 0, time.Now(); ; time.Sleep(glance) {
		n := d.State(since).Back
		if n == d.Agents {
			*took = max(*took, time.Since(since))
			d.Say("all %d agents are back after %.2f s", n, time.Since(since).Seconds())
			return nil
		}
		if n > best {
			best, moved = n, time.Now()
		}
		if time.Since(moved) > patience {
			return fmt.Errorf("%d of %d agents are back after %v:\n%s", n, d.Agents, time.Since(since), d.collector.Output())
		}
	}
}

// caughtUp waits until less than a second's lines wait, or none when they have ended.
func (d *crowdDay) caughtUp() error {
	few := int((d.Least + d.Most) / 2 * float64(d.Agents))
	if d.Ended() {
		few = 0
	}
	for last, moved := 0, time.Now(); ; time.Sleep(glance) {
		s := d.State(time.Time{})
		if s.Behind <= max(few, d.waves()) && (few > 0 || s.Behind == 0) {
			return nil
		}
		if s.Acked > last {
			last, moved = s.Acked, time.Now()
		}
		if time.Since(moved) > patience {
			return fmt.Errorf("%d lines wait, and none was acknowledged for %v:\n%s", s.Behind, patience, d.collector.Output())
		}
	}
}

// waves is how many lines agents that write in bursts may have at a time.
func (d *crowdDay) waves() int { return d.Agents / 10 * max(d.Burst, 0) }

// kill kills the collector at a moment that cannot be foreseen, and measures until all are back.
func (d *crowdDay) kill() error {
	moment(time.Second)
	d.collector.Kill()
	at := time.Now()
	if err := d.collector.Start(); err != nil {
		return err
	}
	started := time.Since(at)
	d.report.Start = max(d.report.Start, started)
	d.Say("killed; it accepts lines again after %.2f s", started.Seconds())
	if err := d.back(at, &d.report.Back); err != nil {
		return err
	}
	err := d.caughtUp()
	d.report.Caught = max(d.report.Caught, time.Since(at))
	d.report.Collector.Peak = max(d.report.Collector.Peak, rig.UsageOf(d.collector.PID()).Peak)
	return err
}

// settle stops the collector and holds all against what was sent.
func (d *crowdDay) settle() error {
	if err := d.collector.Conserved(patience); err != nil {
		return err
	}
	if code, err := d.collector.Stop(); err != nil || code != 0 {
		return fmt.Errorf("the collector stopped with %d: %w\n%s", code, err, d.collector.Output())
	}
	result, err := d.arrivals.End(d.Written())
	if d.report.Result = result; err != nil {
		return err
	}
	if !result.OK() {
		return errors.Join(errors.New(d.report.String()), fmt.Errorf("%q", result.First))
	}
	return d.collector.Verify()
}
