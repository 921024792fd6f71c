package worker

import (
	"bytes"
	"cmp"
	"fmt"
	"sync"
	"time"

	"fanin/sink/distribute/protocol"
)

// ID is a line's position in the log, generation:offset, in a cluster partition@epoch:generation:offset.
// A line that is delivered again has the same.
type ID struct {
	Partition  string // of a cluster; "": the log is of none
	Epoch      uint64 // of the tenure in which its owner wrote the line
	Generation uint64
	Offset     int64
}

// String returns the position.
func (id ID) String() string {
	at := fmt.Sprintf("%d:%d", id.Generation, id.Offset)
	if id.Partition != "" {
		at = fmt.Sprintf("%s@%d:%s", id.Partition, id.Epoch, at)
	}
	return at
}

// Line is one line of the log, as in the file, without its newline.
type Line struct {
	ID   ID
	Text []byte
}

// Delivery is lines that this worker received together. Its methods may be called from
// any goroutine until Handle returns.
type Delivery struct {
	N       uint64 // number within the connection, from 1; in a cluster, of no other connection's
	Attempt int    // attempt number of these lines, from 1
	Text    []byte // all lines, each with its newline
	runs    []protocol.Run
	s       *session
	lost    chan struct{} // closed when the collector has taken it back before it was started

	mu       sync.Mutex
	count    int
	answered []bool // by line; nil: none
}

func newDelivery(s *session, f *protocol.Frame) *Delivery {
	return &Delivery{N: f.N, Attempt: f.Attempt, Text: f.Text, runs: f.Runs, s: s,
		lost: make(chan struct{}), count: bytes.Count(f.Text, []byte{'\n'})}
}

// Len returns the number of lines.
func (d *Delivery) Len() int { return d.count }

// Lines yields each line with its number within the delivery, from 0.
func (d *Delivery) Lines() func(yield func(int, Line) bool) {
	return func(yield func(int, Line) bool) {
		text, i := d.Text, 0
		for _, r := range d.runs {
			run := text[:r.Length]
			text = text[r.Length:]
			for at := r.Offset; len(run) > 0; i++ {
				n := bytes.IndexByte(run, '\n') + 1
				if n == 0 {
					n = len(run)
				}
				id := d.s.place
				id.Generation, id.Offset = r.Generation, at
				if !yield(i, Line{id, bytes.TrimSuffix(run[:n], []byte{'\n'})}) {
					return
				}
				run, at = run[n:], at+int64(n)
			}
		}
	}
}

// Ack reports that lines from to to-1 are done.
func (d *Delivery) Ack(from, to int) error { return d.answer(protocol.KindAck, from, to, "") }

// Nack reports that lines from to to-1 failed, and why. That counts as an attempt.
func (d *Delivery) Nack(from, to int, reason string) error {
	return d.answer(protocol.KindNack, from, to, reason)
}

// Release returns lines from to to-1 without an attempt.
func (d *Delivery) Release(from, to int) error { return d.answer(protocol.KindRelease, from, to, "") }

// Touch starts the delivery's lease again.
func (d *Delivery) Touch() error {
	return d.s.send(&protocol.Frame{Kind: protocol.KindTouch, N: d.N})
}

// holdEvery is the time between two touches where the collector named no lease.
const holdEvery = 5 * time.Second

// Hold keeps the delivery's lease from ending until stop is called, but no longer than
// limit: it touches the delivery three times within each lease.
func (d *Delivery) Hold(limit time.Duration) (stop func()) {
	end := time.NewTimer(limit)
	done := make(chan struct{})
	var holding sync.WaitGroup
	holding.Go(func() { // ends with stop
		defer end.Stop()
		tick := time.NewTicker(cmp.Or(d.s.lease/3, holdEvery))
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				d.Touch()
			case <-end.C:
				return
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		holding.Wait()
	}
}

func (d *Delivery) answer(kind protocol.Kind, from, to int, reason string) error {
	d.mu.Lock()
	if from < 0 || to > d.count || from >= to {
		d.mu.Unlock()
		return fmt.Errorf("answer lines %d to %d of a delivery with %d lines", from, to, d.count)
	}
	if d.answered == nil {
		d.answered = make([]bool, d.count)
	}
	for i := from; i < to; i++ {
		d.answered[i] = true
	}
	d.mu.Unlock()
	if kind != protocol.KindAck {
		d.s.mustConfirm(d.N, from, to)
	}
	reason = reason[:min(len(reason), protocol.MaxString)]
	return d.s.send(&protocol.Frame{Kind: kind, N: d.N, From: from, To: to, Reason: reason})
}

// answerRest answers all lines that have no answer yet.
func (d *Delivery) answerRest(kind protocol.Kind, reason string) {
	d.mu.Lock()
	var open [][2]int
	for i := range d.count {
		if d.answered != nil && d.answered[i] {
			continue
		}
		if last := len(open) - 1; last >= 0 && open[last][1] == i {
			open[last][1] = i + 1
		} else {
			open = append(open, [2]int{i, i + 1})
		}
	}
	d.mu.Unlock()
	for _, lines := range open {
		if d.answer(kind, lines[0], lines[1], reason) != nil {
			return
		}
	}
}
