package collector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"fanin/sink/distribute/worker"
)

// process runs one worker's command.
type process struct {
	w      *commandWorker
	quit   context.CancelFunc // ends the work
	broken error              // why the command cannot be used
	child  *child             // with --lines: the command while it runs
}

// command is the command, not started yet.
func (p *process) command() *exec.Cmd {
	cmd := exec.Command(p.w.argv[0], p.w.argv[1:]...)
	ownGroup(cmd)
	// A process that it leaves behind may hold its output, and must not delay the answer.
	cmd.WaitDelay = leftBehind
	return cmd
}

// leftBehind is how long output is read from processes that a command has left behind.
const leftBehind = 500 * time.Millisecond

// lastWords copies a command's standard error and keeps its end.
type lastWords struct {
	to   io.Writer
	last []byte
}

func (w *lastWords) Write(p []byte) (int, error) {
	w.last = append(w.last, p...)
	w.last = w.last[max(0, len(w.last)-400):]
	return w.to.Write(p)
}

// failure is err with the last line that the command wrote.
func (w *lastWords) failure(err error) error {
	words := strings.TrimSpace(string(w.last))
	if _, last, ok := strings.Cut(words, "\n"); ok {
		words = strings.TrimSpace(last[strings.LastIndexByte(last, '\n')+1:])
	}
	if words == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, words)
}

// batch runs the command once, for all lines of a delivery. When ctx ends, the command has
// the stop timeout to finish them.
func (p *process) batch(ctx context.Context, d *worker.Delivery) error {
	if ctx.Err() != nil {
		return worker.ErrRelease
	}
	words := &lastWords{to: p.w.errs}
	cmd := p.command()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(d.Text), p.w.out, words
	cmd.Env = append(os.Environ(), fmt.Sprintf("FANIN_ATTEMPT=%d", d.Attempt), "FANIN_POSITION="+first(d))
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.w.argv[0], err)
	}
	unhold, unbound := d.Hold(longestHold), bound(ctx, cmd, p.w.stopTime)
	err := cmd.Wait()
	unhold()
	if killed := unbound(); killed && err != nil {
		return worker.ErrRelease
	}
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) { // which means that it exited with 0
		return words.failure(err)
	}
	return nil
}

func first(d *worker.Delivery) string {
	for _, line := range d.Lines() {
		return line.ID.String()
	}
	return ""
}

// longestHold bounds how long the lease of a delivery is held while its command runs: a
// command that hangs must not keep its lines for ever.
const longestHold = time.Hour

// line writes the lines of a delivery to the command that runs on, each when the one
// before was answered, and reads its answers. An answer that belongs to no line would
// be taken for the next line's, and each that follows for another's, so a failed line
// could be accepted: such a command gets no more lines.
func (p *process) line(ctx context.Context, d *worker.Delivery) error {
	if ctx.Err() != nil {
		return worker.ErrRelease
	}
	if err := p.ready(); err != nil {
		return err
	}
	unhold, unbound := d.Hold(longestHold), bound(ctx, p.child.cmd, p.w.stopTime)
	defer unhold()
	in := make(chan []byte, 1)
	defer close(in)
	go p.child.feed(in)
	answered, text := answers{d: d, last: time.Now()}, d.Text
	for i := range d.Len() {
		if i > 0 && p.unasked("between two lines, besides its answers") {
			unbound()
			answered.accept(i)
			d.Release(i, d.Len())
			return nil
		}
		end := bytes.IndexByte(text, '\n') + 1
		in <- text[:end]
		text = text[end:]
		ok, reason, err := p.child.answer()
		switch {
		case ok:
			answered.ok(i)
		case err == nil:
			answered.fail(i, reason)
		default:
			answered.accept(i)
			p.failed(d, i, err, unbound)
			return nil
		}
	}
	unbound()
	answered.accept(d.Len())
	return nil
}

// failed ends a command that can receive no more lines, and decides on the line that it
// received last: that one has failed, unless the command was ended for taking too long
// to stop. Those behind it were not tried.
func (p *process) failed(d *worker.Delivery, i int, err error, unbound func() bool) {
	outcome := p.end(err)
	if unbound() {
		d.Release(i, d.Len())
		return
	}
	if err == io.EOF {
		err = fmt.Errorf("the command ended: %w", outcome)
	}
	p.w.log.Error("the command failed and is started again", "command", p.w.argv[0], "err", err)
	d.Nack(i, i+1, err.Error())
	if i+1 < d.Len() {
		d.Release(i+1, d.Len())
	}
}

// answers are what a command has answered to the lines of a delivery, in order.
type answers struct {
	d        *worker.Delivery
	accepted int // lines below are decided
	last     time.Time
}

// accept acknowledges the lines below i that are not decided.
func (a *answers) accept(i int) {
	if i > a.accepted {
		a.d.Ack(a.accepted, i)
		a.accepted = i
	}
}

// ok is the answer "ok" to line i. If the command is slow, lines are acknowledged as it
// goes: what is done need not be handed out again.
func (a *answers) ok(i int) {
	if time.Since(a.last) > 100*time.Millisecond {
		a.accept(i + 1)
		a.last = time.Now()
	}
}

// fail is the answer "fail" to line i.
func (a *answers) fail(i int, reason string) {
	a.accept(i)
	a.accepted = i + 1
	a.d.Nack(i, i+1, reason)
}

// ready makes sure that the command runs and has written nothing: output before its first
// line, or besides its answers, would be taken for an answer. If it has written something,
// no line is to blame: all are released, and the work ends.
func (p *process) ready() error {
	within := time.Duration(0)
	if p.child == nil {
		c, err := startChild(p.command(), p.w.errs)
		if err != nil {
			return fmt.Errorf("start %s: %w", p.w.argv[0], err)
		}
		p.child, within = c, firstWords
	}
	switch wrote, ended := p.child.hasOutput(within); {
	case wrote:
		p.unasked("before it received a line")
	case ended && within > 0:
		p.broken = fmt.Errorf("the command %s ended before it received a line: %w", p.w.argv[0], p.end(io.EOF))
		p.quit()
	default:
		return nil
	}
	return worker.ErrRelease
}

// unasked ends a command that has written output besides its answers, and reports whether
// it has.
func (p *process) unasked(when string) bool {
	if wrote, _ := p.child.hasOutput(0); !wrote {
		return false
	}
	p.child.stdout.SetReadDeadline(time.Now().Add(leftBehind)) // its newline may never come
	word, _ := p.child.word()
	p.end(nil)
	p.broken = fmt.Errorf("the command %s wrote %q to its standard output %s: with --lines it must write its "+
		"answers there and nothing else; send everything else to standard error", p.w.argv[0], word, when)
	p.quit()
	return true
}

// firstWords is how long a new command may write something before it receives a line.
const firstWords = 200 * time.Millisecond

// end ends the command and returns how it ended. After io.EOF it is about to end by
// itself.
func (p *process) end(why error) error {
	within := time.Duration(0)
	if why == io.EOF {
		within = killAfter
	}
	err := p.child.end(within)
	p.child = nil
	return err
}

// stop closes the command's input and waits until it has finished.
func (p *process) stop() {
	if p.child != nil {
		p.child.end(p.w.stopTime)
		p.child = nil
	}
}
