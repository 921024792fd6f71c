package check

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"sync/atomic"
	"syscall"

	"fanin/e2e/load"
)

// Tail is a `tail -F` of the log, as people have it open in a terminal. It may
// miss files that came and went quickly, but must not print a line twice, which
// it does when a file shrinks or is replaced by one with the same lines.
type Tail struct {
	cmd  *exec.Cmd
	done chan struct{}

	lines   atomic.Int64
	doubled int
	first   string
}

// StartTail starts tail; End ends it.
func StartTail(path string) (*Tail, error) {
	t := &Tail{cmd: exec.Command("tail", "-n", "+1", "-s", "0.02", "-F", path), done: make(chan struct{})}
	out, err := t.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := t.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start tail: %w", err)
	}
	go t.read(out) // ends with the process
	return t, nil
}

func (t *Tail) read(out io.Reader) {
	defer close(t.done)
	var seen tracks
	s := bufio.NewScanner(out)
	s.Buffer(nil, 4<<20)
	for s.Scan() {
		at := bytes.Index(s.Bytes(), []byte(": s"))
		if at < 0 {
			continue
		}
		src, seq, err := load.Parse(s.Bytes()[at+2:])
		if err != nil {
			continue // tail itself glues what it read of two files
		}
		t.lines.Add(1)
		track := seen.of(src)
		if track.has(seq) {
			if t.doubled++; t.first == "" {
				t.first = fmt.Sprintf("tail -F prints source %d line %d twice", src, seq)
			}
		}
		track.set(seq)
	}
	t.cmd.Wait()
}

// End ends tail: how many lines it printed, and how many of them a second time.
func (t *Tail) End() (lines, doubled int, first string) {
	t.cmd.Process.Signal(syscall.SIGTERM)
	<-t.done
	return int(t.lines.Load()), t.doubled, t.first
}
