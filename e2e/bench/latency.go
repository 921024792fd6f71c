package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// latency writes a line a millisecond, to the port or to a file that the
// subject's agent follows, and looks when each is visible in the log.
func (b *bench) latency(s subject, seconds int, agent bool) (r sample, err error) {
	t, err := b.begin(s, 1)
	if err != nil {
		return r, err
	}
	defer t.stop()
	var to io.WriteCloser
	if agent {
		to, err = b.followed(t)
	} else {
		to, err = net.Dial("tcp", address(t.port))
	}
	if err != nil {
		return r, err
	}
	defer to.Close()
	w := &watch{sent: make([]atomic.Int64, seconds*1000), path: t.log, zero: time.Now(), done: make(chan struct{})}
	go w.run() // ends when told to stop, or with the last line
	err = w.write(to)
	if err == nil && !w.wait(5*time.Second) {
		err = fmt.Errorf("%s: %d of %d lines came", s.name, len(w.waits), len(w.sent))
	}
	if err != nil {
		w.stop()
		return r, err
	}
	waits := w.waits[len(w.waits)/10:] // the first ones warm up
	slices.Sort(waits)
	r.P50, r.P99 = ms(waits[len(waits)/2]), ms(waits[len(waits)*99/100])
	return r, nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// followed is a file that the subject's agent follows.
func (b *bench) followed(t *trial) (io.WriteCloser, error) {
	f, err := os.Create(filepath.Join(t.dir, "in.log"))
	if err != nil {
		return nil, err
	}
	args, env, err := t.subject.agent(t.dir, f.Name(), t.port)
	if err != nil {
		return nil, err
	}
	agent, err := start(t.dir, env, args...)
	if err != nil {
		return nil, err
	}
	return &following{f, agent}, nil
}

// following is a file with the agent that follows it.
type following struct {
	*os.File
	agent *process
}

func (f *following) Close() error {
	f.agent.stop()
	return f.File.Close()
}

// watch reads the log as it grows and notes how long each line took. It asks again
// and again instead of being told, since being told costs the one that writes.
type watch struct {
	path    string
	zero    time.Time
	sent    []atomic.Int64
	waits   []time.Duration // run's alone until done
	stopped atomic.Bool
	done    chan struct{}
}

// wait waits until all lines came; if they do not in time, it stops looking.
func (w *watch) wait(patience time.Duration) bool {
	select {
	case <-w.done:
		return true
	case <-time.After(patience):
		w.stop()
		return len(w.waits) == len(w.sent)
	}
}

func (w *watch) stop() {
	w.stopped.Store(true)
	<-w.done
}

// nap sleeps more precisely than the runtime, whose shortest sleep is a millisecond
// when there is nothing else to do.
func nap(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	unix.Nanosleep(&ts, nil) // cut short is no harm: who naps looks again
}

// write writes a line when each millisecond begins, late ones at once.
func (w *watch) write(to io.Writer) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	block, begun := newBlock(0), time.Now()
	for i := range w.sent {
		for due := begun.Add(time.Duration(i) * time.Millisecond); time.Now().Before(due); {
			nap(time.Until(due))
		}
		text := fmt.Appendf(nil, "@00.%08d %s\n", i, block.line(i))
		w.sent[i].Store(int64(time.Since(w.zero)))
		if _, err := to.Write(text); err != nil {
			return err
		}
	}
	return nil
}

func (w *watch) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(w.done)
	var file *os.File
	var rest []byte
	buffer := make([]byte, 64<<10)
	for len(w.waits) < len(w.sent) && !w.stopped.Load() {
		if file == nil {
			if file, _ = os.Open(w.path); file == nil {
				nap(time.Millisecond)
				continue
			}
			defer file.Close()
		}
		n, _ := file.Read(buffer)
		if n == 0 {
			nap(50 * time.Microsecond)
			continue
		}
		rest = w.take(append(rest, buffer[:n]...), time.Since(w.zero))
	}
}

// take notes the whole lines of a text that is visible now, and returns the rest.
func (w *watch) take(text []byte, now time.Duration) (rest []byte) {
	for {
		line, after, whole := bytes.Cut(text, []byte{'\n'})
		if !whole {
			return text
		}
		w.note(line, now)
		text = after
	}
}

func (w *watch) note(line []byte, now time.Duration) {
	at := bytes.IndexByte(line, '@')
	if at < 0 {
		return
	}
	if _, n, ok := parse(line[at:]); ok && n < len(w.sent) {
		w.waits = append(w.waits, now-time.Duration(w.sent[n].Load()))
	}
}
