package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
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
	if err := w.open(); err != nil {
		return r, err
	}
	go w.run() // ends by close, or with the last line
	defer w.close()
	if err := w.write(to); err != nil {
		return r, err
	}
	select {
	case <-w.done:
	case <-time.After(5 * time.Second):
		return r, fmt.Errorf("%s: not all lines came", s.name)
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

// watch reads the log as it grows and notes how long each line took.
type watch struct {
	path   string
	zero   time.Time
	sent   []atomic.Int64
	waits  []time.Duration
	events *fsnotify.Watcher
	file   *os.File
	done   chan struct{}
}

func (w *watch) open() (err error) {
	if w.events, err = fsnotify.NewBufferedWatcher(1024); err != nil {
		return err
	}
	return w.events.Add(filepath.Dir(w.path))
}

func (w *watch) close() {
	w.events.Close()
	if w.file != nil {
		w.file.Close()
	}
}

func (w *watch) write(to io.Writer) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	block := newBlock(0)
	for i := range w.sent {
		<-tick.C
		text := fmt.Appendf(nil, "@00.%08d %s\n", i, block.line(i))
		w.sent[i].Store(int64(time.Since(w.zero)))
		if _, err := to.Write(text); err != nil {
			return err
		}
	}
	return nil
}

func (w *watch) run() {
	var rest []byte
	buffer := make([]byte, 64<<10)
	for e := range w.events.Events {
		if e.Name != w.path {
			continue
		}
		if w.file == nil {
			w.file, _ = os.Open(w.path)
		}
		for {
			n, _ := w.file.Read(buffer)
			if n == 0 {
				break
			}
			now := time.Since(w.zero)
			rest = append(rest, buffer[:n]...)
			for {
				line, after, whole := bytes.Cut(rest, []byte{'\n'})
				if !whole {
					break
				}
				w.note(line, now)
				rest = after
			}
		}
		if len(w.waits) == len(w.sent) {
			close(w.done)
			return
		}
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
