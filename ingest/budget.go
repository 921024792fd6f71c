package ingest

import (
	"context"
	"math/bits"
	"net/netip"
	"sync"
	"time"

	"fanin/internal/wire"

	"github.com/prometheus/client_golang/prometheus"
)

// Budget is the memory that lines in flight may take: what was read and has not
// had its outcome yet. All listeners of a process share one. Blocks are whole
// powers of two and are used again.
//
// What waits is served in turn, so a large frame is not starved by small
// ones. What a sender can hold for as long as it likes is bounded apart: see
// arrival and pin. A holder that needs a second block to get rid of its first (a
// compressed text to be opened) asks for more: it may go beyond the limit by
// one frame, and so two such holders cannot wait for each other for ever.
type Budget struct {
	Limit int64 // bytes; default 24 MiB

	mu      sync.Mutex
	used    int64
	pinned  int64 // bytes of used that hold the beginning of a line whose end has not come
	idle    [classes][][]byte
	idling  int64 // bytes in idle
	waiting []*waiter
	given   int64 // blocks that came back

	all, strangers scope // of arrivals
	addresses      map[netip.Prefix]*scope
	queue          []*Arrival // those that wait for a scope, in turn
	sweeping       bool
	swept          int64 // given at the last sweep
}

// waiter waits for size bytes; ready is closed when they are its.
type waiter struct {
	size, limit int64
	since       time.Time
	ready       chan struct{}
}

const (
	smallest  = 12 // the smallest block is 1<<smallest bytes
	classes   = 11 // the largest is 1<<(smallest+classes-1), which holds a frame's text
	mostIdle  = 4 << 20
	roomLimit = 24 << 20
)

// The largest block holds the largest text.
var _ [1<<(smallest+classes-1) - wire.MaxText]struct{}

// class is which size of block holds n bytes.
func class(n int) int {
	return max(bits.Len(uint(max(n, 1)-1)), smallest) - smallest
}

func (r *Budget) limit() int64 {
	if r.Limit > 0 {
		return r.Limit
	}
	return roomLimit
}

// try gives a block of at least n bytes, or nil when there is no room now.
func (r *Budget) TryAcquire(n int) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) > 0 || !r.fits(BlockSize(n), r.limit()) {
		return nil
	}
	return r.block(class(n))
}

// take waits for a block of at least n bytes.
func (r *Budget) Acquire(ctx context.Context, n int) ([]byte, error) {
	if b := r.TryAcquire(n); b != nil {
		return b, nil
	}
	return r.wait(ctx, n, r.limit())
}

// more is take for a holder that gives its first block back only after it got
// this one.
func (r *Budget) Extend(ctx context.Context, n int) ([]byte, error) {
	return r.wait(ctx, n, r.ample()+wire.MaxText)
}

// ample is the limit for what would not fit into a very small Budget.
func (r *Budget) ample() int64 { return max(r.limit(), 2*wire.MaxText) }

func (r *Budget) wait(ctx context.Context, n int, limit int64) ([]byte, error) {
	if err := r.reserve(ctx, BlockSize(n), limit); err != nil {
		return nil, err
	}
	return r.exchange(nil, BlockSize(n)), nil
}

// reserve waits until n more bytes may be used, and counts them.
func (r *Budget) reserve(ctx context.Context, n, limit int64) error {
	w := &waiter{size: n, limit: limit, since: time.Now(), ready: make(chan struct{})}
	r.mu.Lock()
	if limit > r.ample() {
		r.waiting = append([]*waiter{w}, r.waiting...)
	} else {
		r.waiting = append(r.waiting, w)
	}
	r.serve()
	r.mu.Unlock()
	select {
	case <-w.ready:
	case <-ctx.Done():
		if !r.quit(w) {
			return context.Cause(ctx)
		}
	}
	return nil
}

// exchange makes a block of n bytes, which are counted already, that begins with
// have, and keeps have's block for another.
func (r *Budget) exchange(have []byte, n int64) []byte {
	r.mu.Lock()
	b := r.blockOf(n)
	r.mu.Unlock()
	if cap(have) > 0 {
		copy(b, have)
		r.mu.Lock()
		r.keep(have[:cap(have)])
		r.mu.Unlock()
	}
	return b
}

// quit takes w out of the queue, unless it was served in the meantime.
func (r *Budget) quit(w *waiter) (served bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, x := range r.waiting {
		if x == w {
			r.waiting = append(r.waiting[:i], r.waiting[i+1:]...)
			r.serve()
			return false
		}
	}
	return true
}

// serve gives to those who wait, in turn. r.mu is held.
func (r *Budget) serve() {
	for len(r.waiting) > 0 && r.fits(r.waiting[0].size, r.waiting[0].limit) {
		r.used += r.waiting[0].size
		close(r.waiting[0].ready)
		r.waiting = r.waiting[1:]
	}
}

// fits lets a block in that alone is larger than the limit, or it never would be.
func (r *Budget) fits(n, limit int64) bool { return r.used == 0 || r.used+n <= limit }

func BlockSize(n int) int64 { return 1 << (class(n) + smallest) }

// block counts and makes a block. r.mu is held.
func (r *Budget) block(c int) []byte {
	n := int64(1) << (c + smallest)
	r.used += n
	return r.blockOf(n)
}

// blockOf makes a block of n bytes, the size of a class. r.mu is held.
func (r *Budget) blockOf(n int64) []byte {
	c := class(int(n))
	if last := len(r.idle[c]) - 1; last >= 0 {
		b := r.idle[c][last]
		r.idle[c][last] = nil
		r.idle[c] = r.idle[c][:last]
		r.idling -= n
		return b
	}
	return make([]byte, n)
}

// give takes back a block, or the beginning of one.
func (r *Budget) Release(b []byte) {
	if cap(b) == 0 {
		return
	}
	b = b[:cap(b)]
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used -= int64(len(b))
	r.given++
	r.keep(b)
	r.serve()
}

// keep keeps a whole block for later, if there are not too many. r.mu is held.
func (r *Budget) keep(b []byte) {
	if n := int64(len(b)); r.idling+n <= mostIdle {
		c := class(len(b))
		r.idle[c] = append(r.idle[c], b)
		r.idling += n
	}
}

// pin asks whether n bytes may be held for a line of peer that does not end. At
// most an eighth of the Budget may, and half of that for one address, so that
// senders of half lines leave room for the rest.
func (r *Budget) Pin(peer netip.Addr, n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	most := r.limit() / 8
	s := r.scopeOf(peer)
	if r.pinned+int64(n) > most || s.pinned+int64(n) > most/2 {
		r.drop(peer, s)
		return false
	}
	r.pinned += int64(n)
	s.pinned += int64(n)
	return true
}

func (r *Budget) Unpin(peer netip.Addr, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.scopeOf(peer)
	r.pinned -= int64(n)
	s.pinned -= int64(n)
	r.drop(peer, s)
}

// crowded says that many hold blocks, so that each should take smaller ones.
func (r *Budget) Crowded() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.used > r.limit()/4
}

// Used is how many bytes are in flight now.
func (r *Budget) Used() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.used
}

// Stalled is for how long the arrival or block has waited that has waited
// longest.
func (r *Budget) Stalled() (longest time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.waiting {
		longest = max(longest, time.Since(w.since))
	}
	for _, a := range r.queue {
		longest = max(longest, time.Since(a.asked))
	}
	return longest
}

// Arriving is how many bytes hold texts that are not complete.
func (r *Budget) Arriving() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all.used
}

// Describe implements prometheus.Collector.
func (r *Budget) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(r, ch) }

// Collect implements prometheus.Collector.
func (r *Budget) Collect(ch chan<- prometheus.Metric) {
	gauge := func(name, help string, v float64) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, nil), prometheus.GaugeValue, v)
	}
	gauge("fanin_room_bytes", "Memory that lines in flight take.", float64(r.Used()))
	gauge("fanin_room_arriving_bytes", "Memory that agents' texts take that have begun to come and are not complete.", float64(r.Arriving()))
	gauge("fanin_room_waiting_seconds", "For how long the connection has waited for memory that has waited longest.", r.Stalled().Seconds())
}
