package check

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"fanin/e2e/load"
)

// Arrivals reads a log as `tail -F` does while it is written, holds each line against those before
// of its source, and measures how long after a line was due it could be read. Sources are numbered
// from 0 on.
type Arrivals struct {
	path string
	due  func(src, seq int) time.Time
	stop chan struct{}
	done chan struct{}
	cpu  atomic.Int64 // of the reading thread, in nanoseconds

	mu     sync.Mutex
	next   []int // of each source: the line that comes next
	missed []int // lines that were passed over and have not come
	result Result
	delays Delays
	err    error
}

// pollEvery is how long the reader waits at the end of the file: what it adds to each delay, at most.
const pollEvery = 2 * time.Millisecond

// WatchArrivals reads the log at path until End. due is when a line was written.
func WatchArrivals(path string, sources int, due func(src, seq int) time.Time) *Arrivals {
	a := &Arrivals{path: path, due: due, stop: make(chan struct{}), done: make(chan struct{}),
		next: make([]int, sources), missed: make([]int, sources)}
	go a.read() // ends with End
	return a
}

// Lines is how many have come.
func (a *Arrivals) Lines() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.result.Lines
}

// TakeDelays returns the delays since the last call.
func (a *Arrivals) TakeDelays() Delays {
	a.mu.Lock()
	defer a.mu.Unlock()
	d := a.delays
	a.delays = Delays{}
	return d
}

// Spent is the CPU time of the reading so far.
func (a *Arrivals) Spent() time.Duration { return time.Duration(a.cpu.Load()) }

// End reads what is there, and holds it against how many lines each source wrote.
func (a *Arrivals) End(written map[int]int) (r Result, err error) {
	close(a.stop)
	<-a.done
	r = a.result
	for src, n := range written {
		if missing := n - a.next[src] + a.missed[src]; missing > 0 {
			r.Lost += missing
			r.say("source %d: %d of %d lines are missing", src, missing, n)
		}
		if more := a.next[src] - n; more > 0 {
			r.Phantom += more
			r.say("source %d: %d lines more than the %d that were written", src, more, n)
		}
	}
	return r, a.err
}

// read is the reader's goroutine, on a thread of its own.
func (a *Arrivals) read() {
	defer close(a.done)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	f, err := a.open()
	for err == nil && f != nil {
		f, err = a.follow(f)
	}
	a.err = err
}

// open waits for the file.
func (a *Arrivals) open() (*os.File, error) {
	for {
		f, err := os.Open(a.path)
		if !errors.Is(err, fs.ErrNotExist) || !a.pause() {
			return f, err
		}
	}
}

// pause reports whether to go on.
func (a *Arrivals) pause() bool {
	a.cpu.Store(int64(threadTime()))
	select {
	case <-a.stop:
		return false
	case <-time.After(pollEvery):
		return true
	}
}

// follow reads a file until another has its name, which it returns; nil: it is to end.
func (a *Arrivals) follow(f *os.File) (next *os.File, err error) {
	defer f.Close()
	b, have, moved, ended := make([]byte, 1<<20), 0, false, false
	for {
		n, err := f.Read(b[have:])
		if n > 0 {
			end := bytes.LastIndexByte(b[:have+n], '\n') + 1
			a.take(b[:end])
			have = copy(b, b[end:have+n])
			if have == len(b) {
				return nil, errors.New("a line is longer than a mebibyte")
			}
			continue
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
		switch {
		case moved && have > 0:
			return nil, fmt.Errorf("a file of the log ends inside a line: %q", b[:min(have, 200)])
		case moved:
			return a.open()
		case ended:
			return nil, nil
		case a.moved(f): // once more: what came before it got another name
			moved = true
		case !a.pause():
			ended = true
		}
	}
}

// moved reports whether f is not at its path any more.
func (a *Arrivals) moved(f *os.File) bool {
	now, err := os.Stat(a.path)
	own, oerr := f.Stat()
	return err == nil && oerr == nil && !os.SameFile(now, own)
}

// take notes whole lines of the log.
func (a *Arrivals) take(text []byte) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(text) > 0 {
		end := bytes.IndexByte(text, '\n')
		a.line(text[:end], now)
		text = text[end+1:]
	}
}

func (a *Arrivals) line(line []byte, now time.Time) {
	at := bytes.Index(line, []byte(": s"))
	if at < 0 {
		a.result.Notices++
		return
	}
	src, seq, err := load.Parse(line[at+2:])
	switch {
	case err != nil:
		a.result.Torn++
		a.result.say("torn: %q", line)
		return
	case src < 0 || src >= len(a.next):
		a.result.Phantom++
		a.result.say("source %d, which there is not", src)
		return
	}
	a.result.Lines++
	switch next := a.next[src]; {
	case seq == next:
		a.next[src]++
	case seq > next:
		a.result.say("source %d: line %d comes after line %d", src, seq, next-1)
		a.missed[src] += seq - next
		a.next[src] = seq + 1
	case a.missed[src] > 0: // which of them is no matter: both are wrong
		a.result.Reordered++
		a.missed[src]--
	default:
		a.result.Doubled++
		a.result.say("source %d: line %d comes again, after line %d", src, seq, next-1)
	}
	a.delays.add(now.Sub(a.due(src, seq)))
}
