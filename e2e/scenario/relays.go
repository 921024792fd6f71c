package scenario

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"fanin/e2e/check"
	"fanin/e2e/rig"
)

// RelayDay is a day on which lines pass through three logs: an agent, plain connections and a
// witness send to edge, which forwards to middle, which forwards to central. In each round, each of
// the three is killed, and each link is cut.
type RelayDay struct {
	Name, Sync string
	TLS        bool // relays show certificates
	NATS       bool // relays send over a NATS server, which is killed in place of the links
	KillsOnly  bool // the links hold
}

// RelayDays are all of them.
func RelayDays() []RelayDay {
	return []RelayDay{
		{Name: "relays", Sync: "commit"},
		{Name: "relays-tls", Sync: "commit", TLS: true},
		{Name: "relays-nats", Sync: "commit", NATS: true},
		{Name: "relays-none", Sync: "none", KillsOnly: true},
	}
}

// relays are the two upper logs of such a day, and what is between all three.
type relays struct {
	RelayDay
	dir             string
	edge            *day
	middle, central *rig.Collector
	links           []*rig.Cuts // edge to middle, middle to central; none over NATS
	nats            *rig.NATS
	store           string // of the NATS server
	certificates    *rig.Certificates
}

// Relays lives through n rounds of such a day. Each line that edge acknowledged must be once in each
// log, in the order of its source; and each log must have all lines of the one below it as that shows
// them, in the same order.
func (p *Programs) Relays(x RelayDay, n int) (*Result, error) {
	r := &relays{RelayDay: x}
	var err error
	if r.dir, err = os.MkdirTemp(p.Dir, "relays-"); err != nil {
		return nil, err
	}
	defer r.end()
	if err := r.begin(p); err != nil {
		return nil, err
	}
	result, err := r.edge.rounds(n, func(int) error { return r.round() })
	if err != nil {
		return result, fmt.Errorf("%w\nmiddle said last:\n%s\ncentral said last:\n%s", err, lastOf(r.middle.Output()),
			lastOf(r.central.Output()))
	}
	if err := r.compare(); err != nil {
		return result, fmt.Errorf("%s: %w\nkept in %s", x.Name, err, r.dir)
	}
	return result, errors.Join(os.RemoveAll(r.dir), os.RemoveAll(r.store))
}

// begin starts the three logs from the last one to the first, and what sends to the first.
func (r *relays) begin(p *Programs) (err error) {
	if r.TLS {
		if r.certificates, err = rig.NewCertificates(r.dir); err != nil {
			return err
		}
	}
	if r.NATS {
		if r.nats, r.store, err = p.cluster(1); err != nil {
			return err
		}
	}
	if r.central, err = r.upper(p, "central", ""); err != nil {
		return err
	}
	table, err := r.upstream("middle", "central", r.central)
	if err != nil {
		return err
	}
	if r.middle, err = r.upper(p, "middle", table); err != nil {
		return err
	}
	if table, err = r.upstream("edge", "middle", r.middle); err != nil {
		return err
	}
	r.edge, err = p.begin(plan{name: r.Name, log: r.log() + table, logDir: r.logDir("edge"), slow: true, text: inChains,
		settled: r.settle})
	return err
}

func (r *relays) log() string {
	return fmt.Sprintf("rotate_size = \"512KiB\"\nkeep_bytes = \"off\"\nsync = %q\n", r.Sync)
}

func (r *relays) logDir(name string) string { return filepath.Join(r.dir, name, "log") }

// upper starts a log that edge's lines come to. upstream is its table of a relay, if it has one.
func (r *relays) upper(p *Programs, name, upstream string) (*rig.Collector, error) {
	table := r.log() + upstream
	if r.NATS {
		table += fmt.Sprintf("[[collector.nats]]\nurl = %q\nagents = %q\nrelay_names = [\"edge\", \"middle\"]\n", r.nats.URL, name)
	}
	if err := os.MkdirAll(r.logDir(name), 0o750); err != nil {
		return nil, err
	}
	c, err := rig.NewCollector(p.Collector, filepath.Join(r.dir, name), r.logDir(name), table)
	if err != nil {
		return nil, err
	}
	c.Listener = "relay_names = [\"edge\", \"middle\"]\n"
	if r.TLS {
		c.Listener += fmt.Sprintf("tls = {cert = %q, key = %q, client_ca = %q}\n", r.certificates.Server, r.certificates.Key,
			r.certificates.CA)
	}
	return c, c.Start()
}

// upstream is the table of a relay.
func (r *relays) upstream(id, to string, upper *rig.Collector) (table string, err error) {
	if r.NATS {
		return fmt.Sprintf("[collector.relay]\nto = [%q]\nid = %q\nhost = %q\nnats = {subject = %q, answer_within = \"2s\"}\n", r.nats.URL, id, id, to), nil
	}
	link, err := rig.NewCuts(upper.Addr)
	if err != nil {
		return "", err
	}
	r.links = append(r.links, link)
	scheme, tls := "tcp", ""
	if r.TLS {
		cert, key, err := r.certificates.WriteFiles(r.dir, id)
		if err != nil {
			return "", err
		}
		scheme, tls = "tls", fmt.Sprintf("tls = {ca = %q, cert = %q, key = %q}\n", r.certificates.CA, cert, key)
	}
	return fmt.Sprintf("[collector.relay]\nto = [%q]\nid = %q\nhost = %q\n%s", scheme+"://"+link.Addr, id, id, tls), nil
}

// round strikes everything once, at random moments, so that some of it falls together.
func (r *relays) round() error {
	faults := []func() error{
		func() error { return r.strike(r.edge.collector) },
		func() error { return r.strike(r.middle) },
		func() error { return r.strike(r.central) },
	}
	if r.NATS {
		faults = append(faults, func() error {
			s := r.nats.Servers[0]
			s.Kill()
			return s.Start()
		})
	}
	if !r.KillsOnly {
		for _, link := range append(r.links, r.edge.network) {
			faults = append(faults, func() error { link.Cut(); return nil })
		}
	}
	var all sync.WaitGroup
	errs := make([]error, len(faults))
	for i, fault := range faults {
		all.Go(func() { // ends with the fault
			moment(400 * time.Millisecond)
			errs[i] = fault()
		})
	}
	all.Wait()
	moment(300 * time.Millisecond)
	return errors.Join(errs...)
}

// strike kills a collector, or stops it in order now and then, and starts it again.
func (r *relays) strike(c *rig.Collector) error {
	if rand.IntN(5) > 0 {
		c.Kill()
	} else if code, err := c.Stop(); code != 0 || err != nil {
		return fmt.Errorf("a collector ended with %d, %v:\n%s", code, err, lastOf(c.Output()))
	}
	r.forget(c)
	moment(100 * time.Millisecond)
	return c.Start()
}

// forget has a relay that does not run lose what it saved, now and then: the upstream's watermark is
// enough.
func (r *relays) forget(c *rig.Collector) {
	if rand.IntN(5) == 0 {
		os.Remove(filepath.Join(c.State, "relay"))
	}
}

// settle waits until all lines are in the last log, and asks each relay whether the log above it has
// all.
func (r *relays) settle(edge *rig.Collector) error {
	for _, c := range []*rig.Collector{edge, r.middle} {
		if err := relayed(c, 2*time.Minute); err != nil {
			return err
		}
		if out, err := exec.Command(c.Path, append([]string{"verify", "--upstream"}, c.Args...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("verify --upstream: %w\n%s", err, out)
		}
	}
	return nil
}

// relayed waits until the upstream has all of a log. patience is for how long the lag may stay as it is: how
// large it is at first depends on how many rounds there were.
func relayed(c *rig.Collector, patience time.Duration) error {
	var st struct {
		Relay struct {
			Position string
			Lag      int64 `json:"lag_bytes"`
			Waits    string
			Lost     uint64 `json:"unrelayed_lines"`
		}
	}
	least := int64(math.MaxInt64)
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		err := c.Ask("GET", "/status", &st)
		switch {
		case err != nil:
			return err
		case st.Relay.Lag < least && st.Relay.Lag > 0:
			least, end = st.Relay.Lag, time.Now().Add(patience)
		case st.Relay.Lost > 0:
			return fmt.Errorf("%d lines can never be relayed", st.Relay.Lost)
		case st.Relay.Lag == 0 && st.Relay.Position != "":
			return nil
		}
	}
	return fmt.Errorf("the upstream has not all: %+v\n%s", st.Relay, lastOf(c.Output()))
}

// compare ends the upper logs, and holds each against the one below it.
func (r *relays) compare() error {
	if err := relayed(r.middle, time.Minute); err != nil { // edge may have said something when it stopped
		return err
	}
	for _, c := range []*rig.Collector{r.middle, r.central} {
		if code, err := c.Stop(); code != 0 || err != nil {
			return fmt.Errorf("a collector ended with %d, %v:\n%s", code, err, lastOf(c.Output()))
		}
		if err := c.Verify(); err != nil {
			return err
		}
	}
	edge := r.edge.collector
	for _, x := range []check.Relay{
		{Below: edge.Log, BelowState: edge.State, Above: r.middle.Log, AboveState: r.middle.State, Host: "edge"},
		{Below: r.middle.Log, BelowState: r.middle.State, Above: r.central.Log, AboveState: r.central.State, Host: "middle"},
	} {
		if err := x.Compare(); err != nil {
			return err
		}
	}
	return nil
}

// end ends what still runs.
func (r *relays) end() {
	for _, c := range []*rig.Collector{r.middle, r.central} {
		if c != nil {
			c.Kill()
		}
	}
	for _, link := range r.links {
		link.Close()
	}
	if r.nats != nil {
		r.nats.Kill()
	}
}
