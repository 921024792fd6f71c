package collector

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"fanin/sink/distribute/worker"
)

// hand is one worker's command.
type hand struct {
	l      *labourer
	quit   context.CancelFunc // ends the work
	broken error              // why the command is no worker
	steady *process           // with --lines: the command while it runs
}

// command is the command, not started yet.
func (h *hand) command() *exec.Cmd {
	cmd := exec.Command(h.l.argv[0], h.l.argv[1:]...)
	ownGroup(cmd)
	// A child that it leaves behind may hold its output, and must not hold up the answer.
	cmd.WaitDelay = leftBehind
	return cmd
}

// leftBehind is how long output is read from what a command that ended has left behind.
const leftBehind = 500 * time.Millisecond

// lastWords keeps what a command said last on its standard error, which passes
// through.
type lastWords struct {
	to   io.Writer
	last []byte
}

func (w *lastWords) Write(p []byte) (int, error) {
	w.last = append(w.last, p...)
	w.last = w.last[max(0, len(w.last)-400):]
	return w.to.Write(p)
}

// failure is err with what the command said last.
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

// batch runs the command once, for all lines of a delivery. When ctx ends, it may
// finish them within the stop timeout.
func (h *hand) batch(ctx context.Context, d *worker.Delivery) error {
	if ctx.Err() != nil {
		return worker.ErrRelease
	}
	words := &lastWords{to: h.l.errs}
	cmd := h.command()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(d.Text), h.l.out, words
	cmd.Env = append(os.Environ(), fmt.Sprintf("FANIN_ATTEMPT=%d", d.Attempt), "FANIN_POSITION="+first(d))
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", h.l.argv[0], err)
	}
	untouch, unbound := touching(d), bound(ctx, cmd, h.l.stopTime)
	err := cmd.Wait()
	untouch()
	if killed := unbound(); killed && err != nil {
		return worker.ErrRelease
	}
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) { // which says that it exited with 0
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

// touching keeps a delivery's lease from ending while its command runs, for up
// to an hour: a command that hangs shall not hold its lines for ever.
func touching(d *worker.Delivery) (stop func()) {
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { // ends with stop
		tick := time.NewTicker(5 * time.Second)
		defer tick.Stop()
		for until := time.Now().Add(time.Hour); time.Now().Before(until); {
			select {
			case <-tick.C:
				d.Touch()
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		running.Wait()
	}
}

// line gives the lines of a delivery to the command that runs on, each when the one
// before was answered, and takes its answers. An answer that belongs to no line would
// be taken for the next line's, and each that follows for another's, so a failed line
// could be accepted: such a command is not asked any more.
func (h *hand) line(ctx context.Context, d *worker.Delivery) error {
	if ctx.Err() != nil {
		return worker.ErrRelease
	}
	if err := h.ready(); err != nil {
		return err
	}
	untouch, unbound := touching(d), bound(ctx, h.steady.cmd, h.l.stopTime)
	defer untouch()
	give := make(chan []byte, 1)
	defer close(give)
	go func(stdin io.Writer) { // ends with line; a write ends when stdin is closed
		for line := range give {
			stdin.Write(line)
		}
	}(h.steady.stdin)
	acked, said, text := 0, time.Now(), d.Text
	for i := range d.Len() {
		if i > 0 && h.unasked("between two lines, besides its answers") {
			if unbound(); acked < i {
				d.Ack(acked, i)
			}
			d.Release(i, d.Len())
			return nil
		}
		end := bytes.IndexByte(text, '\n') + 1
		give <- text[:end]
		text = text[end:]
		ok, reason, err := h.steady.answer()
		if ok {
			if time.Since(said) > 100*time.Millisecond { // slow work: what is done need not come again
				d.Ack(acked, i+1)
				acked, said = i+1, time.Now()
			}
			continue
		}
		if i > acked {
			d.Ack(acked, i)
		}
		acked = i + 1
		if err == nil {
			d.Nack(i, i+1, reason)
			continue
		}
		outcome := h.end(err)
		if unbound() {
			d.Release(i, d.Len())
			return nil
		}
		if err == io.EOF {
			err = fmt.Errorf("the command ended: %w", outcome)
		}
		h.l.log.Error("the command failed and is started again", "command", h.l.argv[0], "err", err)
		d.Nack(i, i+1, err.Error())
		if i+1 < d.Len() {
			d.Release(i+1, d.Len())
		}
		return nil
	}
	unbound()
	if acked < d.Len() {
		d.Ack(acked, d.Len())
	}
	return nil
}

// ready sees to it that the command runs, and has said nothing: a line that it writes
// before it is given one, or beside its answers, would be taken for an answer. When it
// has, no line is to blame: they are given back, and the work ends.
func (h *hand) ready() error {
	within := time.Duration(0)
	if h.steady == nil {
		p, err := startProcess(h.command(), h.l.errs)
		if err != nil {
			return fmt.Errorf("start %s: %w", h.l.argv[0], err)
		}
		h.steady, within = p, firstWords
	}
	switch said, ended := h.steady.speaks(within); {
	case said:
		h.unasked("before it was given a line")
	case ended && within > 0:
		h.broken = fmt.Errorf("the command %s ended before it was given a line: %w", h.l.argv[0], h.end(io.EOF))
		h.quit()
	default:
		return nil
	}
	return worker.ErrRelease
}

// unasked ends a command that has said what no line asked for, and reports whether
// it has.
func (h *hand) unasked(when string) bool {
	if said, _ := h.steady.speaks(0); !said {
		return false
	}
	h.steady.stdout.SetReadDeadline(time.Now().Add(leftBehind)) // its newline may never come
	word, _ := h.steady.word()
	h.end(nil)
	h.broken = fmt.Errorf("the command %s wrote %q to its standard output %s: with --lines it must write its answers there and nothing else; send everything else to standard error", h.l.argv[0], word, when)
	h.quit()
	return true
}

// firstWords is how long a command that was just started is listened to before it is
// given a line.
const firstWords = 200 * time.Millisecond

// end ends the command that runs on, and says how it ended. After io.EOF it is about to
// end by itself.
func (h *hand) end(why error) error {
	within := time.Duration(0)
	if why == io.EOF {
		within = killAfter
	}
	err := h.steady.end(within)
	h.steady = nil
	return err
}

// stop lets the command finish: it sees the end of its input.
func (h *hand) stop() {
	if h.steady != nil {
		h.steady.end(h.l.stopTime)
		h.steady = nil
	}
}

// process is a command that runs on.
type process struct {
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	stdout  *os.File
	answers *bufio.Reader
	exited  chan struct{}
	err     error // how it ended, good to read when exited is closed
}

// longestAnswer bounds a line of a command.
const longestAnswer = 64 << 10

func startProcess(cmd *exec.Cmd, errs io.Writer) (*process, error) {
	stdout, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	p := &process{cmd: cmd, stdout: stdout, answers: bufio.NewReaderSize(stdout, longestAnswer), exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = w, errs
	if p.stdin, err = cmd.StdinPipe(); err == nil {
		err = cmd.Start()
	}
	if err != nil {
		stdout.Close()
		return nil, err
	}
	go func() { // ends with the command
		p.err = cmd.Wait()
		stdout.SetReadDeadline(time.Now().Add(leftBehind)) // a child may hold the other end
		close(p.exited)
	}()
	return p, nil
}

// word reads one line from the command; io.EOF: it ended.
func (p *process) word() (string, error) {
	line, err := p.answers.ReadSlice('\n')
	switch {
	case err == nil:
		return string(bytes.TrimSpace(line)), nil
	case errors.Is(err, bufio.ErrBufferFull):
		return string(line[:40]) + "...", fmt.Errorf("the command wrote more than %d bytes without a newline to its standard output", longestAnswer)
	}
	return string(line), io.EOF
}

// answer reads what the command says to one line. err says why it cannot be asked more.
func (p *process) answer() (ok bool, reason string, err error) {
	text, err := p.word()
	if err != nil {
		return false, "", err
	}
	word, reason, _ := strings.Cut(text, " ")
	switch {
	case strings.EqualFold(text, "ok"):
		return true, "", nil
	case strings.EqualFold(word, "fail"):
		return false, strings.TrimSpace(reason), nil
	}
	return false, "", fmt.Errorf("the command answered %.200q, and not \"ok\" or \"fail REASON\"", text)
}

// end closes the command's input, waits for it so long, and ends its process group
// after that.
func (p *process) end(within time.Duration) error {
	p.stdin.Close()
	select {
	case <-p.exited:
	case <-time.After(within):
		signalGroup(p.cmd, false)
		select {
		case <-p.exited:
		case <-time.After(killAfter):
		}
		signalGroup(p.cmd, true) // what is left of it, too
		<-p.exited
	}
	p.stdout.Close()
	if p.err == nil || errors.Is(p.err, exec.ErrWaitDelay) {
		return errors.New("exit status 0")
	}
	return p.err
}
