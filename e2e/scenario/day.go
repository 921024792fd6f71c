package scenario

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"fanin/e2e/check"
	"fanin/e2e/load"
	"fanin/e2e/rig"
	"fanin/sink"
)

// plan says what is particular about a day.
type plan struct {
	name     string
	log      string // more lines of the [collector.log] table
	logDir   string // "": in the day's own directory
	agentDir string // where the agent keeps its state; "": in the day's own directory

	nats  *rig.NATS // the agent and some others go over this; it runs already
	via   string    // the stream that the agent's batches go through; "": none
	wiped bool      // what the streams held is lost now and then

	before  func() error                 // done when the collector runs, before there are lines
	settled func(c *rig.Collector) error // done when all lines are in the log, before the collector stops

	descriptors  int  // of the collector; 0: no limit of its own
	rotate       int  // lines until a source rotates; 0: 60,000
	copyTruncate bool // sources rotate so, not by renaming
	logrotate    bool // another program rotates and compresses the sources
	numbers      bool // sources rotate by numbers, each over all of its files
	text         text // how their lines are written and read
	slow         bool // little load: what matters is something else
	few          bool // a little more than calm, and no witnesses: all is kept elsewhere, too
	calm         bool // less still, and no witnesses
	retention    bool // files are removed, so the log cannot be held against all that was sent
	strangers    bool // another process destroys lines, so a reader may see the log change
	amnesia      bool // the log's state is lost, so only the saved positions of agents can show what it acknowledged
}

// day is a collector, an agent and programs that write logs.
type day struct {
	plan
	dir       string
	collector *rig.Collector
	agent     *rig.Agent
	network   *rig.Cuts // between the two; nil: nothing is
	writers   []*load.Writer
	plain     *load.Sender
	publisher *publisher // nil without NATS
	pushers   []*pusher  // to Redis
	pipes     *pipes     // nil without
	crews     []*crew
	witnesses []*witness // none where state is lost
	watcher   *check.Watcher
	tail      *check.Tail // nil where there is no tail
	destroyed []string
	intruded  map[int]int // lines that another process wrote into the log, by source

	stop    chan struct{}
	writing sync.WaitGroup
	mu      sync.Mutex
	err     error
}

// begin starts everything in a directory of its own.
func (p *Programs) begin(pl plan) (d *day, err error) {
	d = &day{plan: pl, stop: make(chan struct{}), intruded: make(map[int]int)}
	if d.dir, err = os.MkdirTemp(p.Dir, "day-"); err != nil {
		return nil, err
	}
	if d.logDir == "" {
		d.logDir = filepath.Join(d.dir, "log")
	}
	if d.agentDir == "" {
		d.agentDir = d.dir
	}
	sources := filepath.Join(d.dir, "sources")
	if err := errors.Join(os.MkdirAll(sources, 0o750), os.MkdirAll(d.logDir, 0o750)); err != nil {
		return nil, err
	}
	if d.collector, err = rig.NewCollector(p.Collector, d.dir, d.logDir, d.log); err != nil {
		return nil, err
	}
	d.collector.Descriptors = d.descriptors
	if err := d.collector.Start(); err != nil {
		return nil, err
	}
	if d.before != nil {
		if err := d.before(); err != nil {
			d.collector.Kill()
			return nil, err
		}
	}
	if err := d.follow(p, filepath.Join(sources, "*.log*")); err != nil {
		d.collector.Kill()
		return nil, err
	}
	d.send(sources)
	return d, d.look()
}

// follow starts the agent.
func (d *day) follow(p *Programs, pattern string) (err error) {
	keys, to := rig.Keys{Agent: d.text.agent, File: d.text.keys}, d.collector.Addr
	if d.text.agent != "" {
		if d.network, err = rig.NewCuts(to); err != nil {
			return err
		}
		to = d.network.Addr
	}
	switch {
	case d.nats != nil:
		d.agent = rig.NewNATSAgent(p.Agent, d.agentDir, d.nats.URL, d.via, "one", keys, pattern)
	case keys != rig.Keys{}:
		d.agent = rig.NewTextAgent(p.Agent, d.agentDir, to, "one", keys, pattern)
	default:
		d.agent = rig.NewAgent(p.Agent, d.agentDir, to, "one", pattern)
	}
	return d.agent.Start()
}

// send begins to write and to send lines.
func (d *day) send(sources string) {
	burst, pause := 150, 2*time.Millisecond
	if d.slow {
		burst, pause = 20, 2*time.Millisecond
	}
	if d.retention {
		burst, pause = 10, 4*time.Millisecond
	}
	if d.text.keys != "" {
		burst = 151 // a file may end in the middle of a record
	}
	rate := 2000
	if d.few {
		burst, pause, rate = 10, 10*time.Millisecond, 500
	}
	if d.calm {
		burst, pause, rate = 2, 10*time.Millisecond, 200
	}
	rotate := 60_000
	if d.rotate > 0 {
		rotate = d.rotate
	}
	for i := range 3 {
		w := &load.Writer{Dir: sources, Name: fmt.Sprintf("app%d.log", i), First: i * writerSources, Burst: burst, Pause: pause,
			Rotate: rotate, CopyTruncate: d.copyTruncate, Numbers: d.numbers, Encode: d.text.encode}
		d.writers = append(d.writers, w)
		d.writing.Go(func() { d.fail(w.Run(d.stop)) }) // ends by stop
	}
	d.plain = &load.Sender{Network: "tcp", Addr: d.collector.Addr, Source: plainSource, Rate: rate, Again: 10 * time.Millisecond}
	d.writing.Go(func() { d.fail(d.plain.Run(d.stop)) }) // ends by stop
	if !d.amnesia && !d.retention && !d.calm && !d.few {
		d.witnesses = append(d.witnesses, newWitness(witnessSources, overTCP(d.collector.Addr)))
	}
	if d.nats != nil && !d.calm {
		d.witnesses = append(d.witnesses, newWitness(witnessSources+10, overNATS(d.nats.URL, "")), newWitness(witnessSources+20, overNATS(d.nats.URL, natsStream)))
	}
	if d.nats != nil {
		d.publisher = newPublisher(d.nats)
		d.writing.Go(func() { d.fail(d.publisher.run(d.stop)) }) // ends by stop
	}
	for _, w := range d.witnesses {
		w.start()
	}
}

// look begins to read along.
func (d *day) look() (err error) {
	d.watcher = check.Watch(d.collector.Log)
	if _, missing := exec.LookPath("tail"); missing == nil {
		d.tail, err = check.StartTail(d.collector.Log)
	}
	return err
}

func (d *day) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		d.err = err
	}
}

// end lets everything come to rest, and checks the log.
func (d *day) end(rounds int) (*Result, error) {
	r, err := d.rest()
	if d.network != nil {
		defer d.network.Close()
	}
	defer d.agent.Kill()
	defer d.collector.Kill()
	for _, c := range d.crews {
		defer c.agent.Kill()
	}
	if err == nil && r.OK() {
		os.RemoveAll(d.dir)
		return &Result{Name: d.name, Rounds: rounds, Result: *r}, nil
	}
	for name, p := range map[string]*rig.Process{"collector.err": &d.collector.Process, "agent.err": &d.agent.Process} {
		os.WriteFile(filepath.Join(d.dir, name), []byte(p.Output()), 0o640)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w\nkept in %s; the collector said last:\n%s", d.name, err, d.dir, lastOf(d.collector.Output()))
	}
	return &Result{Name: d.name, Rounds: rounds, Result: *r}, fmt.Errorf("%s: %s\n%s\nkept in %s", d.name, r, strings.Join(r.First, "\n"), d.dir)
}

// rest ends all sources, waits until every line that is to be kept is
// acknowledged, ends the programs politely and checks.
func (d *day) rest() (*check.Result, error) {
	close(d.stop)
	d.writing.Wait()
	written, kept := d.sent()
	errs := []error{d.err}
	for _, w := range d.witnesses {
		errs = append(errs, w.end(written, kept))
	}
	d.witnesses = nil
	if d.err == nil {
		errs = append(errs, d.agent.Drained(d.files(written), time.Minute))
		for _, c := range d.crews {
			errs = append(errs, c.agent.Drained(c.files(), time.Minute))
		}
		errs = append(errs, d.collector.Conserved(10*time.Second))
		if d.settled != nil {
			errs = append(errs, d.settled(d.collector))
		}
	}
	for _, p := range []*rig.Process{&d.agent.Process, &d.collector.Process} {
		if code, err := p.Stop(); code != 0 || err != nil {
			errs = append(errs, fmt.Errorf("%s ended with %d, %v:\n%s", filepath.Base(p.Path), code, err, lastOf(p.Output())))
		}
	}
	for _, c := range d.crews {
		if code, err := c.agent.Stop(); code != 0 || err != nil {
			errs = append(errs, fmt.Errorf("an agent ended with %d, %v:\n%s", code, err, lastOf(c.agent.Output())))
		}
	}
	watched, werr := d.watched()
	if !d.strangers && !d.amnesia { // otherwise it rightly finds what the ledger does not know
		errs = append(errs, d.collector.Verify())
	}
	if err := errors.Join(append(errs, werr)...); err != nil {
		return nil, err
	}
	if d.retention {
		r := &check.Result{}
		for _, n := range written {
			r.Lines += n
		}
		return r, nil
	}
	if d.strangers {
		unlisted, err := d.unlisted()
		if err != nil {
			return nil, err
		}
		d.destroyed = append(d.destroyed, unlisted...)
	}
	e := check.Expect{Written: written, Kept: kept, Destroyed: d.destroyed}
	r, err := e.Log(d.collector.Log, d.collector.State)
	if err != nil {
		return nil, err
	}
	watched(r)
	return r, nil
}

// endTail ends tail, where it would be in the way.
func (d *day) endTail() {
	if d.tail != nil {
		d.tail.End()
		d.tail = nil
	}
}

// still ends all that sends lines, and waits until the agent's are in the log.
func (d *day) still() {
	close(d.stop)
	d.writing.Wait()
	d.stop = make(chan struct{}) // end closes it again
	written, _ := d.sent()
	if d.err == nil {
		d.fail(d.agent.Drained(d.files(written), time.Minute))
	}
}

// files is how many files the agent follows: one for each source of the writers
// that has a line.
func (d *day) files(written map[int]int) (n int) {
	if d.logrotate {
		return len(d.writers) // and some that are not compressed yet
	}
	if d.numbers {
		for _, w := range d.writers {
			n += w.Files()
		}
		return n
	}
	for src := range written {
		if src < plainSource {
			n++
		}
	}
	for _, c := range d.crews {
		n -= c.files()
	}
	return n
}

// sent is what all sources sent, and how much of it has to be there.
func (d *day) sent() (written, kept map[int]int) {
	written = map[int]int{plainSource: d.plain.Sent()}
	kept = map[int]int{plainSource: 0}
	writers := d.writers
	for _, c := range d.crews {
		writers = append(writers, c.writer)
	}
	for _, w := range writers {
		for src, n := range w.Written() {
			if n > 0 {
				written[src] = n
			}
		}
	}
	if d.publisher != nil {
		d.publisher.sent(written, kept, d.wiped)
	}
	for _, x := range d.pushers {
		x.count(written, kept)
	}
	if d.pipes != nil {
		d.pipes.sent(written, kept)
	}
	for src, n := range d.intruded {
		written[src] = n
	}
	return written, kept
}

// watched ends those who read along; what they saw is added to a result.
func (d *day) watched() (add func(*check.Result), err error) {
	generations, err := sink.Generations(d.collector.Log, d.collector.State)
	if d.retention {
		generations = nil
	}
	found, werr := d.watcher.Result(generations)
	doubled, first := 0, ""
	if d.tail != nil {
		_, doubled, first = d.tail.End()
	}
	return func(r *check.Result) {
		if d.strangers || d.retention {
			return
		}
		r.Changed += found.Changed
		r.Doubled += doubled
		for _, s := range []string{found.First, first} {
			if s != "" {
				r.First = append(r.First, s)
			}
		}
	}, errors.Join(err, werr)
}

func lastOf(s string) string { return s[max(0, len(s)-4000):] }
