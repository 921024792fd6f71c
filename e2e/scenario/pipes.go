package scenario

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"fanin/e2e/check"
	"fanin/e2e/load"
	"fanin/e2e/rig"
)

// Pipes has twenty programs at once write into pipes that agents read, all with the id and
// the state of an agent that follows files. In each of n rounds several of them are killed
// in the middle; the collector and the agent are killed in some. Later runs send what
// killed ones left. Of a killed run the log has all lines up to some place: what was still
// in the pipe, or not synced, is gone with it.
func (p *Programs) Pipes(n int) (*Result, error) {
	d, err := p.begin(plan{name: "pipes, kill", few: true, log: rotating})
	if err != nil {
		return nil, err
	}
	x := newPipes(p.Agent, d.collector.Addr, d.agent.State)
	d.pipes = x
	for round := 0; round < n && d.err == nil; round++ {
		var all sync.WaitGroup
		for i := range pipesAtOnce {
			all.Go(func() { d.fail(x.run(i < pipesKilled, 1000+rand.IntN(40_000))) })
		}
		if round%2 == 1 {
			moment(200 * time.Millisecond)
			d.collector.Kill()
			d.fail(d.collector.Start())
		}
		if round%4 > 1 {
			d.agent.Kill()
			d.fail(d.agent.Start())
		}
		all.Wait()
	}
	d.fail(x.settle())
	d.fail(d.checkPipes())
	return d.end(n)
}

const (
	pipesAtOnce = 20
	pipesKilled = 10
)

// unsynced is at most what an agent had not taken that is killed, or loses its disk: the content
// of the pipe, what it read, a block that was collected, and one that was being synced.
const unsynced = 64<<10 + 64<<10 + 2*(1<<20)

// pipes are runs of an agent that reads standard input.
type pipes struct {
	program, state string
	args           []string

	mu      sync.Mutex
	all     []published // by source
	left    int         // runs that were killed or gave up
	running map[*os.Process]bool
	killed  map[*os.Process]bool
	begun   atomic.Int64 // runs
}

func newPipes(program, addr, state string) *pipes {
	return &pipes{program: program, state: state, running: make(map[*os.Process]bool), killed: make(map[*os.Process]bool),
		args: []string{"--to", addr, "--id", "one", "--state", state, "--wait", "20s", "-"}}
}

// pause stops the breath of all runs.
func (x *pipes) pause() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for p := range x.running {
		rig.Pause(p)
	}
}

// kill kills all runs.
func (x *pipes) kill() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for p := range x.running {
		x.killed[p] = true
		p.Kill()
	}
}

// killSoon kills one.
func (x *pipes) killSoon(p *os.Process) {
	moment(400 * time.Millisecond)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.killed[p] = true
	p.Kill()
}

// started notes that a process runs, if it does.
func (x *pipes) started(p *os.Process) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.begun.Add(1); p != nil {
		x.running[p] = true
	}
}

// ended notes that a process does not run any more, and reports whether it was killed.
func (x *pipes) ended(p *os.Process) (killed bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.running, p)
	return x.killed[p]
}

// run writes lines into a new pipe, and kills the agent that reads it, perhaps.
func (x *pipes) run(kill bool, lines int) error {
	source := x.begin()
	in, out, err := os.Pipe()
	if err != nil {
		return err
	}
	c := exec.Command(x.program, x.args...)
	c.Stdin = in
	var text bytes.Buffer
	c.Stderr = &text
	err = c.Start()
	in.Close()
	x.started(c.Process)
	if err != nil {
		out.Close()
		return err
	}
	if kill {
		go x.killSoon(c.Process)
	}
	x.write(out, source, lines)
	out.Close()
	err = c.Wait()
	killed := x.ended(c.Process)
	var exit *exec.ExitError
	switch {
	case err == nil:
		x.keep(source)
	case errors.As(err, &exit) && (killed || exit.ExitCode() == 75):
		x.mu.Lock()
		x.left++
		x.mu.Unlock()
		if exit.ExitCode() == 75 {
			x.keep(source)
		}
	default:
		return fmt.Errorf("a pipe's agent ended with %w:\n%s", err, text.String())
	}
	return nil
}

func (x *pipes) begin() (source int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.all = append(x.all, published{})
	return len(x.all) - 1
}

// write writes n lines, or as many as are read.
func (x *pipes) write(out io.Writer, source, n int) {
	type place struct{ lines, bytes int }
	var places []place // of which it is not known whether they were taken
	for now := (place{}); now.lines < n; {
		few := 1 + rand.IntN(200)
		text := load.Seed(0).Block(nil, pipeSources+source, now.lines, few)
		now = place{now.lines + few, now.bytes + len(text)}
		x.mu.Lock()
		x.all[source].sent = now.lines
		x.mu.Unlock()
		if _, err := out.Write(text); err != nil {
			return
		}
		for places = append(places, now); len(places) > 0 && places[0].bytes+unsynced <= now.bytes; places = places[1:] {
			x.mu.Lock()
			x.all[source].acked = places[0].lines
			x.mu.Unlock()
		}
		if rand.IntN(20) == 0 {
			moment(time.Millisecond)
		}
	}
}

// keep notes that all lines of a source have to be there.
func (x *pipes) keep(source int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.all[source].acked = x.all[source].sent
}

// settle has one more run send what is left, and waits until no run's directory is.
func (x *pipes) settle() error {
	dir := filepath.Join(x.state, "runs")
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		text, err := exec.Command(x.program, x.args...).CombinedOutput()
		left, gerr := filepath.Glob(filepath.Join(dir, "*"))
		if err == nil && gerr == nil && len(left) == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("runs are left: %v, %w, %w\n%s", left, err, gerr, text)
		}
	}
}

// sent adds what was sent, and what of it has to be there.
func (x *pipes) sent(written, kept map[int]int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, s := range x.all {
		written[pipeSources+i], kept[pipeSources+i] = s.sent, s.acked
	}
}

// checkPipes checks that the log has of each source all lines up to its last one.
func (d *day) checkPipes() error {
	d.still()
	e := check.Expect{Whole: true, Kept: map[int]int{plainSource: 0}}
	r, err := e.Log(d.collector.Log, d.collector.State)
	if err != nil {
		return err
	}
	if !r.OK() {
		return fmt.Errorf("lines are missing before others of the same pipe: %s\n%v", r, r.First)
	}
	if d.pipes.left == 0 {
		return errors.New("no run left anything: nothing was tested")
	}
	return nil
}
