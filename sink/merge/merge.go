// Package merge reads the partitions of a log as one: their lines by the time at which they were read.
package merge

import (
	"cmp"
	"context"
	"math"
	"sync"
	"time"

	"fanin/sink"
)

// Merge reads several logs at the same time, one for each partition, and returns their lines by time, earlier ones
// first. Lines of one partition keep their order, so that of each source is kept: a line that was read before the one
// before it in its partition is returned behind that. At equal times the partition with the smaller number is first.
//
// It returns pieces: rows of lines of one partition that are before all lines of the others. It never looks at single
// lines where the ledger tells the time of many. A log that is far behind or ahead of the others costs no memory: what
// is not yet due stays in its file. One goroutine at a time may use a Merge; it must be closed.
type Merge struct {
	o       Options
	heads   []head
	times   []int64 // of the next lines of each; none: there are none
	missing int     // heads of which nothing is known
	places  Places
	full    chan *block
	reading sync.WaitGroup
	cancel  context.CancelFunc
	used    *block // that Next returned a piece of, and which is used up
}

// Options are bounds of a merge. Zero fields take the defaults named.
type Options struct {
	Memory int64     // bytes of text that are read ahead, of all logs; default 16 MiB, at least 64 KiB for each log
	Until  time.Time // lines that were read then or later are not returned; zero: no bound

	// Follow waits for lines that are yet to come. Lines of one partition wait for those of others that have come to
	// their end, for as long as Window at most; default 250 ms.
	Follow bool
	Window time.Duration

	Idle func() // is called before Next waits; nil: nothing is
}

// Piece is whole lines of one partition. It is valid until the next call of the Merge.
type Piece struct {
	At   Place
	Text []byte
}

// head is what is known of the next lines of a partition.
type head struct {
	feed  *feed
	queue []*block
	text  int // bytes of the first block that were returned
	span  int // the span of it that is next
	ended bool
}

// block is a part of a log.
type block struct {
	feed  int
	buf   []byte
	text  []byte
	at    Place
	spans []sink.Span
	read  time.Time // when it was
	end   bool      // there is no more
	err   error
}

// The bounds of blocks. There are three for each log: one is being returned, one waits, one is being read.
const (
	blocks    = 3
	minBlock  = 64 << 10 / blocks
	maxBlock  = 256 << 10
	maxMemory = 16 << 20
	window    = 250 * time.Millisecond
)

// New begins to merge logs: at of each is where it begins. They are in the order of their partitions.
func New(logs []Log, at Places, o Options) *Merge {
	o.Memory, o.Window = cmp.Or(o.Memory, maxMemory), cmp.Or(o.Window, window)
	size := min(max(o.Memory/int64(blocks*max(len(logs), 1)), minBlock), maxBlock)
	m := &Merge{o: o, places: append(Places(nil), at...), full: make(chan *block, blocks*len(logs))}
	var ctx context.Context
	ctx, m.cancel = context.WithCancel(context.Background())
	m.missing = len(logs)
	for i, log := range logs {
		f := &feed{log: log, follow: o.Follow, free: make(chan *block, blocks), full: m.full}
		for range blocks {
			f.free <- &block{feed: i, buf: make([]byte, size)}
		}
		m.heads, m.times = append(m.heads, head{feed: f}), append(m.times, none)
		m.reading.Go(func() { f.run(ctx) }) // ends by Close
	}
	return m
}

// Close ends the reading. It does not close the logs.
func (m *Merge) Close() {
	m.cancel()
	m.reading.Wait()
}

// Places are behind what was returned last: where another merge continues.
func (m *Merge) Places() Places { return m.places }

// Next returns the next lines; a piece without text: there are none. After a *sink.GoneError the next call
// continues behind the gap; any other error is final.
func (m *Merge) Next(ctx context.Context) (Piece, error) {
	m.recycle()
	for {
		if m.missing > 0 {
			m.collect()
		}
		first, second := m.order()
		switch {
		case first < 0 && m.missing == 0:
			return Piece{}, nil
		case first >= 0 && m.times[first] == failed:
			return Piece{}, m.failed(first)
		case first >= 0 && m.due(first) <= 0:
			return m.piece(first, second), nil
		}
		if err := m.wait(ctx, first); err != nil {
			return Piece{}, err
		}
	}
}

// due is for how long the lines of a head have to wait for others: while nothing is known of a head, they wait, and
// when the logs are followed no longer than the window.
func (m *Merge) due(i int) time.Duration {
	switch {
	case m.missing == 0:
		return 0
	case m.o.Follow:
		return m.o.Window - time.Since(m.heads[i].queue[0].read)
	}
	return math.MaxInt64
}

// wait waits until more is known, or until the lines of a head are due; -1: there are none.
func (m *Merge) wait(ctx context.Context, first int) error {
	var due <-chan time.Time
	if first >= 0 && m.o.Follow {
		due = time.After(m.due(first))
	}
	if m.o.Idle != nil {
		m.o.Idle()
	}
	select {
	case b := <-m.full:
		m.take(b)
	case <-due:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// recycle gives a block back that was used up by the last piece.
func (m *Merge) recycle() {
	if m.used != nil {
		m.heads[m.used.feed].feed.free <- m.used
		m.used = nil
	}
}

// collect takes all blocks that were read by now.
func (m *Merge) collect() {
	for {
		select {
		case b := <-m.full:
			m.take(b)
		default:
			return
		}
	}
}

func (m *Merge) take(b *block) {
	h := &m.heads[b.feed]
	lacked := h.lacks()
	if n := len(b.spans); n > 0 && !m.o.Until.IsZero() && b.err == nil {
		b.spans = b.spans[:behind(b.spans, m.o.Until.UnixMicro()-1)]
		b.end = len(b.spans) < n
	}
	if !h.ended && (len(b.spans) > 0 || b.err != nil) {
		h.queue = append(h.queue, b)
	}
	h.ended = h.ended || b.end
	if lacked && !h.lacks() {
		m.missing--
	}
	m.times[b.feed] = h.time()
}

// lacks reports whether nothing is known of the next lines.
func (h *head) lacks() bool { return len(h.queue) == 0 && !h.ended }

// The times of a head that has no lines, and of one that has an error.
const (
	none   = math.MaxInt64
	failed = math.MinInt64
)

// time is that of the next lines.
func (h *head) time() int64 {
	switch {
	case len(h.queue) == 0:
		return none
	case h.queue[0].err != nil:
		return failed
	}
	return h.queue[0].spans[h.span].Time
}

// order returns the head with the earliest lines, and the one with the earliest of all others, -1: there is none. At
// equal times the smaller one is first.
func (m *Merge) order() (first, second int) {
	first, second = -1, -1
	for i, t := range m.times {
		switch {
		case t == none:
		case first < 0 || t < m.times[first]:
			first, second = i, first
		case second < 0 || t < m.times[second]:
			second = i
		}
	}
	return first, second
}

// failed takes the error of a head.
func (m *Merge) failed(i int) error {
	err := m.heads[i].queue[0].err
	m.drop(i)
	m.times[i] = m.heads[i].time()
	return err
}

// drop drops the first block of a head, which is given back with the next call.
func (m *Merge) drop(i int) {
	h := &m.heads[i]
	m.used = h.queue[0]
	h.queue = h.queue[:copy(h.queue, h.queue[1:])]
	h.text, h.span = 0, 0
	if h.lacks() {
		m.missing++
	}
}

// piece returns the lines of one head that are before those of another; -1: there is no other.
func (m *Merge) piece(i, other int) Piece {
	h := &m.heads[i]
	b := h.queue[0]
	end := len(b.spans)
	if other >= 0 {
		bound := m.times[other]
		if i > other {
			bound-- // at equal times the smaller number is first
		}
		end = h.span + 1 + behind(b.spans[h.span+1:], bound)
	}
	from, to := h.text, b.spans[end-1].End
	p := Piece{b.at, b.text[from:to]}
	p.At.At.Offset += int64(from)
	h.text, h.span = to, end
	m.passed(i, b, to)
	if end == len(b.spans) {
		m.drop(i)
	}
	m.times[i] = h.time()
	return p
}

// behind returns how many spans, which are in the order of time, are not later than a bound. Most often these are few,
// or all.
func behind(spans []sink.Span, bound int64) int {
	if n := len(spans); n == 0 || spans[n-1].Time <= bound {
		return n
	}
	n := 1
	for n < len(spans) && spans[n-1].Time <= bound {
		n *= 2
	}
	lo, hi := n/2, min(n, len(spans))
	for lo < hi {
		if mid := (lo + hi) / 2; spans[mid].Time <= bound {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// passed notes that lines of a head were returned, up to a byte of its block.
func (m *Merge) passed(i int, b *block, to int) {
	p := b.at
	p.At.Offset += int64(to)
	m.places[i] = p
}
