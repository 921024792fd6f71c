// Package scenario is the worst days of a log, to be lived through a few times
// in a test and many times in a torture run.
package scenario

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"fanin/e2e/check"
	"fanin/e2e/load"
	"fanin/e2e/rig"
)

// Programs are the built programs, and a directory for scratch files.
type Programs struct{ Collector, Agent, Dir string }

// Result is how a scenario ended.
type Result struct {
	Name   string
	Rounds int
	check.Result
}

func (r *Result) String() string {
	return fmt.Sprintf("%-22s rounds=%d %s", r.Name, r.Rounds, r.Result.String())
}

// day is a collector, an agent and programs that write logs, with somebody
// reading along.
type day struct {
	name      string
	dir       string
	collector *rig.Collector
	agent     *rig.Agent
	writers   []*load.Writer
	stop      chan struct{}
	writing   sync.WaitGroup
	watcher   *check.Watcher
	mu        sync.Mutex
	err       error
}

// begin starts everything in a directory of its own; the log is in logDir.
func (p *Programs) begin(name, logDir, logTable string) (d *day, err error) {
	d = &day{name: name, stop: make(chan struct{})}
	if d.dir, err = os.MkdirTemp(p.Dir, "scenario-"); err != nil {
		return nil, err
	}
	if logDir == "" {
		logDir = filepath.Join(d.dir, "log")
	}
	sources := filepath.Join(d.dir, "sources")
	if err := os.MkdirAll(sources, 0o750); err != nil {
		return nil, err
	}
	if d.collector, err = rig.NewCollector(p.Collector, d.dir, logDir, logTable); err != nil {
		return nil, err
	}
	if err := d.collector.Start(); err != nil {
		return nil, err
	}
	d.agent = rig.NewAgent(p.Agent, d.dir, d.collector.Addr, "one", filepath.Join(sources, "*.log*"))
	if err := d.agent.Start(); err != nil {
		return nil, err
	}
	d.watcher = check.Watch(d.collector.Log)
	for i := range 3 {
		w := &load.Writer{Dir: sources, Name: fmt.Sprintf("app%d.log", i), First: i * 10000, Burst: 150, Pause: 2 * time.Millisecond, Rotate: 60000}
		d.writers = append(d.writers, w)
		d.writing.Go(func() { // ends by stop
			if err := w.Run(d.stop); err != nil {
				d.fail(err)
			}
		})
	}
	return d, nil
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
	close(d.stop)
	d.writing.Wait()
	defer d.agent.Kill()
	defer d.collector.Kill()
	if d.err != nil {
		return nil, d.err
	}
	written := make(map[int]int)
	for _, w := range d.writers {
		for src, n := range w.Written() {
			if n > 0 {
				written[src] = n
			}
		}
	}
	if err := d.agent.Drained(len(written), time.Minute); err != nil {
		return nil, fmt.Errorf("%s: %w\ncollector:\n%s", d.name, err, tailOf(d.collector.Output()))
	}
	if code, err := d.agent.Stop(); code != 0 || err != nil {
		return nil, fmt.Errorf("%s: the agent ended with %d, %v:\n%s", d.name, code, err, tailOf(d.agent.Output()))
	}
	if code, err := d.collector.Stop(); code != 0 || err != nil {
		return nil, fmt.Errorf("%s: the collector ended with %d, %v:\n%s", d.name, code, err, tailOf(d.collector.Output()))
	}
	if err := d.collector.Verify(); err != nil {
		return nil, fmt.Errorf("%s: %w", d.name, err)
	}
	got, err := check.Log(d.collector.Log, d.collector.State, written)
	if err != nil {
		return nil, err
	}
	if d.watcher != nil {
		changed, first := d.watcher.Result()
		if got.Changed = changed; changed > 0 {
			got.First = append(got.First, first)
		}
	}
	r := &Result{Name: d.name, Rounds: rounds, Result: *got}
	if got.OK() {
		os.RemoveAll(d.dir)
		return r, nil
	}
	return r, fmt.Errorf("%s: %s\n%s\nkept in %s", d.name, got, strings.Join(got.First, "\n"), d.dir)
}

func tailOf(s string) string { return s[max(0, len(s)-4000):] }

// moment is a while that nobody could foresee.
func moment(most time.Duration) { time.Sleep(time.Duration(rand.Int64N(int64(most)))) }

// rotating makes the log rotate every few mebibytes.
const rotating = "rotate_size = \"4MiB\"\nkeep_bytes = \"off\"\n"

// Kills kills the collector, the agent or both, n times at random moments under
// load. The agent's state is deleted at some of its kills.
func (p *Programs) Kills(name, sync string, n int, collector, agent bool) (*Result, error) {
	d, err := p.begin(name, "", rotating+"sync = \""+sync+"\"\n")
	if err != nil {
		return nil, err
	}
	for range n {
		moment(150 * time.Millisecond)
		if err := d.killOnce(collector, agent); err != nil {
			d.fail(err)
			break
		}
	}
	return d.end(n)
}

func (d *day) killOnce(collector, agent bool) error {
	var both sync.WaitGroup
	if agent {
		both.Go(d.agent.Kill)
	}
	if collector {
		both.Go(d.collector.Kill)
	}
	both.Wait()
	if agent && rand.IntN(4) == 0 {
		if err := os.RemoveAll(d.agent.State); err != nil {
			return err
		}
	}
	if collector {
		if err := d.collector.Start(); err != nil {
			return err
		}
	}
	if agent {
		return d.agent.Start()
	}
	return nil
}

// Hangs stops the collector's breath for a while, and then kills one side.
func (p *Programs) Hangs(n int) (*Result, error) {
	d, err := p.begin("hang, then kill", "", rotating)
	if err != nil {
		return nil, err
	}
	for i := range n {
		moment(100 * time.Millisecond)
		d.collector.Signal(syscall.SIGSTOP)
		moment(300 * time.Millisecond)
		if err := d.killOnce(i%2 == 0, i%2 == 1); err != nil {
			d.fail(err)
			break
		}
		d.collector.Signal(syscall.SIGCONT)
	}
	return d.end(n)
}

// Rotations asks for a rotation all the time, from several sides at once.
func (p *Programs) Rotations(n int) (*Result, error) {
	d, err := p.begin("rotation on demand", "", "rotate_size = \"64KiB\"\nkeep_bytes = \"off\"\n")
	if err != nil {
		return nil, err
	}
	var askers sync.WaitGroup
	for range 4 {
		askers.Go(func() {
			for range n / 4 {
				if err := d.collector.Ask("POST", "/rotate", nil); err != nil {
					d.fail(err)
					return
				}
			}
		})
	}
	askers.Wait()
	return d.end(n)
}

// Interference moves the live file away, or appends to it, while it is written.
func (p *Programs) Interference(n int) (*Result, error) {
	d, err := p.begin("moved by others", "", rotating)
	if err != nil {
		return nil, err
	}
	for i := range n {
		moment(60 * time.Millisecond)
		to := fmt.Sprintf("%s.moved%d", d.collector.Log, i)
		if err := os.Rename(d.collector.Log, to); err != nil && !os.IsNotExist(err) {
			d.fail(err)
		}
		if i%2 == 0 {
			d.collector.Signal(syscall.SIGUSR1)
		}
	}
	return d.end(n)
}
