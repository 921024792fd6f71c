package ingest

import (
	"context"
	"math/bits"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanin/internal/wire"
)

// Budget bounds the memory of lines in flight: what was read and has no outcome yet. All
// inputs of a process share one. Blocks are whole powers of two and are used again. Its
// zero value is ready. It is a prometheus.Collector.
//
// Requests of a kind are served in the order in which they came, so small ones do not starve a
// large frame, and the kinds take turns, so that many of one kind do not keep the others waiting:
// blocks of texts that arrive, those of Acquire, and those of Extend. What a sender can hold for as
// long as it likes is bounded apart: see Arrival and Pin. A holder that needs a second block to get
// rid of its first (a compressed text to be decompressed) calls Extend: beyond the limit there is a
// reserve of one frame for these, so two such holders cannot wait for each other for ever.
type Budget struct {
	Limit int64 // bytes; default 24 MiB

	mu       sync.Mutex
	used     int64 // without what is lent
	pinned   int64 // bytes of used that hold the beginning of a line whose end has not come
	idle     [blockClasses][][]byte
	idling   int64 // bytes in idle; with used, at most the limit
	waiting  [kinds][]*waiter
	turn     int // the kind that is served next
	lent     loans
	spare    sync.Pool // of *waiter: while memory is short, each text of each connection waits
	released int64     // blocks that were released

	all, unproven scope // of arrivals
	addresses     map[netip.Prefix]*scope
	queue         queue    // arrivals that wait for a scope, in the order in which they asked
	ready         [2]ready // by rank
	rank          int      // the one whose turn it is
	begun         int64    // arrivals until now
	sweeping      bool
	swept         int64 // released at the last sweep
}

// Kinds of requests.
const (
	arriving  = iota // see Arrival
	acquiring        // see Acquire
	extending        // see Extend
	kinds
)

// waiter waits for size bytes.
type waiter struct {
	size, limit int64
	since       time.Time
	lent        bool          // the bytes are of the reserve
	ready       chan struct{} // of capacity 1: the bytes are counted for it
}

const (
	smallestBlock = 4 << 10 // of all but arriving texts

	smallestBits = 10 // the smallest block has 1<<smallestBits bytes
	blockClasses = 13 // the largest has 1<<(smallestBits+blockClasses-1), which holds a frame's text
	defaultLimit = 24 << 20
)

// The largest block holds the largest text.
var _ [1<<(smallestBits+blockClasses-1) - wire.MaxText]struct{}

// blockClass returns the class of the blocks that hold n bytes.
func blockClass(n int) int {
	return max(bits.Len(uint(max(n, 1)-1)), smallestBits) - smallestBits
}

// BlockSize returns the size of the blocks that hold n bytes.
func BlockSize(n int) int64 { return TextSize(max(n, smallestBlock)) }

// TextSize returns the size of the blocks that hold an arriving text of n bytes. They are as small as a few
// lines: thousands of agents have one each.
func TextSize(n int) int64 { return 1 << (blockClass(n) + smallestBits) }

func (m *Budget) limit() int64 {
	if m.Limit > 0 {
		return m.Limit
	}
	return defaultLimit
}

// ample returns the limit for what would not fit into a very small Budget.
func (m *Budget) ample() int64 { return max(m.limit(), 2*wire.MaxText) }

// TryAcquire returns a block of at least n bytes, or nil when there is no memory now.
func (m *Budget) TryAcquire(n int) []byte {
	size := BlockSize(n)
	m.mu.Lock()
	if m.waitedForLocked() || !m.fitsLocked(size, m.limit()) {
		m.mu.Unlock()
		return nil
	}
	m.used += size
	b := m.idleLocked(size)
	m.mu.Unlock()
	return orNew(b, size)
}

// Acquire waits for a block of at least n bytes.
func (m *Budget) Acquire(ctx context.Context, n int) ([]byte, error) {
	if b := m.TryAcquire(n); b != nil {
		return b, nil
	}
	size := BlockSize(n)
	if _, err := m.await(ctx, acquiring, size, m.limit()); err != nil {
		return nil, err
	}
	return m.exchange(nil, size), nil
}

// Extend is Acquire for a holder that releases its first block only after it got this
// one.
func (m *Budget) Extend(ctx context.Context, n int) ([]byte, error) {
	size := BlockSize(n)
	lent, err := m.await(ctx, extending, size, m.ample())
	if err != nil {
		return nil, err
	}
	b := m.exchange(nil, size)
	if lent {
		m.mu.Lock()
		m.lent.note(b)
		m.mu.Unlock()
	}
	return b, nil
}

// await waits until n more bytes are counted, lent ones of the reserve.
func (m *Budget) await(ctx context.Context, kind int, n, limit int64) (lent bool, err error) {
	w, ok := m.spare.Get().(*waiter)
	if !ok {
		w = &waiter{ready: make(chan struct{}, 1)}
	}
	defer m.spare.Put(w)
	w.size, w.limit, w.since, w.lent = n, limit, time.Now(), false
	m.mu.Lock()
	m.waiting[kind] = append(m.waiting[kind], w)
	m.serveLocked()
	m.mu.Unlock()
	select {
	case <-w.ready:
	case <-ctx.Done():
		if !m.withdraw(kind, w) {
			return false, context.Cause(ctx)
		}
		<-w.ready
	}
	return w.lent, nil
}

// withdraw removes w from the queue of its kind. It reports true if w was served in the meantime.
func (m *Budget) withdraw(kind int, w *waiter) (served bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	queue := &m.waiting[kind]
	i := slices.Index(*queue, w)
	if i < 0 {
		return true
	}
	*queue = slices.Delete(*queue, i, i+1)
	m.serveLocked()
	return false
}

// exchange returns a block of n bytes, which are counted already, that begins with
// have, and keeps have's block for others.
func (m *Budget) exchange(have []byte, n int64) []byte {
	m.mu.Lock()
	b := m.idleLocked(n)
	m.mu.Unlock()
	return m.replace(have, orNew(b, n))
}

// replace is exchange for b, which is there already.
func (m *Budget) replace(have, b []byte) []byte {
	if cap(have) > 0 {
		copy(b, have)
		m.mu.Lock()
		m.keepLocked(have[:cap(have)])
		m.mu.Unlock()
	}
	return b
}

// waitedForLocked reports whether a request waits: then none may pass it.
func (m *Budget) waitedForLocked() bool {
	for _, queue := range m.waiting {
		if len(queue) > 0 {
			return true
		}
	}
	return false
}

// serveLocked serves those that wait. Only from the reserve does Extend pass others: what its callers hold
// comes back only behind it. If it could pass them otherwise, many callers, each of which extends again and
// again, would keep the rest waiting for ever.
func (m *Budget) serveLocked() {
	for m.waitedForLocked() {
		for len(m.waiting[m.turn]) == 0 {
			m.turn = (m.turn + 1) % kinds
		}
		kind := m.turn
		switch w := m.waiting[kind][0]; {
		case m.fitsLocked(w.size, w.limit):
			m.used += w.size
			m.turn = (m.turn + 1) % kinds
		case len(m.waiting[extending]) > 0 && m.lent.lend(m.waiting[extending][0].size):
			kind = extending
			m.waiting[kind][0].lent = true
		default:
			if kind != extending || !m.endLoansLocked() {
				return
			}
			continue // a small loan that is kept for long would keep a large one waiting
		}
		m.waiting[kind][0].ready <- struct{}{} // has space: each wait takes it
		m.waiting[kind] = m.waiting[kind][1:]
	}
}

// fitsLocked reports whether n more bytes stay within limit. A block that is larger than
// the limit by itself fits when nothing is used, or it never would.
func (m *Budget) fitsLocked(n, limit int64) bool { return m.used == 0 || m.used+n <= limit }

// idleLocked returns a block of n bytes, which are counted already, for orNew. nil: none is idle.
func (m *Budget) idleLocked(n int64) []byte {
	c := blockClass(int(n))
	if last := len(m.idle[c]) - 1; last >= 0 {
		b := m.idle[c][last]
		m.idle[c][last] = nil
		m.idle[c] = m.idle[c][:last]
		m.idling -= n
		return b
	}
	m.dropIdleLocked()
	return nil
}

// orNew makes the block of n bytes that idleLocked did not have. The lock must not be held: the garbage
// collector may stop a goroutine that allocates, and thousands would wait for it. They would go on to
// wait for each other long after, since a mutex with so many waiters goes from one to the next, each of
// which must be woken.
func orNew(b []byte, n int64) []byte {
	if b == nil {
		b = make([]byte, n)
	}
	return b
}

// dropIdleLocked leaves idle blocks to the garbage collector, large ones first, until they and those in
// use are within the limit.
func (m *Budget) dropIdleLocked() {
	for c := blockClasses - 1; c >= 0; c-- {
		for last := len(m.idle[c]) - 1; last >= 0 && m.used+m.idling > m.limit(); last-- {
			m.idling -= int64(len(m.idle[c][last]))
			m.idle[c][last] = nil
			m.idle[c] = m.idle[c][:last]
		}
	}
}

// Release returns a block, or the beginning of one, to the budget.
func (m *Budget) Release(b []byte) {
	if cap(b) == 0 {
		return
	}
	b = b[:cap(b)]
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.lent.back(b) {
		m.used -= int64(len(b))
	}
	m.released++
	m.keepLocked(b)
	m.serveLocked()
	if !m.waitedForLocked() {
		m.endLoansLocked()
	}
}

// endLoansLocked counts what is lent as other memory, if there is enough of that.
func (m *Budget) endLoansLocked() bool {
	n := m.lent.end(m.limit() - m.used)
	m.used += n
	return n > 0
}

// keepLocked keeps a whole block for later. Thousands of connections use many at a time: blocks that are
// thrown away and made again would cost more than all that is done with their lines.
func (m *Budget) keepLocked(b []byte) {
	if n := int64(len(b)); m.used+m.idling+n <= m.limit() {
		c := blockClass(len(b))
		m.idle[c] = append(m.idle[c], b)
		m.idling += n
	}
}

// Pin reports whether n bytes may be held, until Unpin, for a line of peer that does not
// end. At most an eighth of the budget may be pinned, and half of that for one address,
// so that senders of half lines leave memory for others.
func (m *Budget) Pin(peer netip.Addr, n int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	limit := m.limit() / 8
	s := m.scopeLocked(peer)
	if m.pinned+int64(n) > limit || s.pinned+int64(n) > limit/2 {
		m.dropLocked(peer, s)
		return false
	}
	m.pinned += int64(n)
	s.pinned += int64(n)
	return true
}

// Unpin ends what Pin allowed.
func (m *Budget) Unpin(peer netip.Addr, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.scopeLocked(peer)
	m.pinned -= int64(n)
	s.pinned -= int64(n)
	m.dropLocked(peer, s)
}

// Crowded reports whether many hold blocks, so that each should acquire smaller ones.
func (m *Budget) Crowded() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used > m.limit()/4
}

// Used returns how many bytes are in flight now.
func (m *Budget) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used + m.lent.bytes
}

// Stalled returns for how long the oldest request for memory has waited.
func (m *Budget) Stalled() (longest time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, queue := range m.waiting {
		if len(queue) > 0 {
			longest = max(longest, time.Since(queue[0].since))
		}
	}
	for a := range m.queue.all() {
		longest = max(longest, time.Since(a.asked))
	}
	return longest
}

// Arriving returns how many bytes hold texts that are not complete.
func (m *Budget) Arriving() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.all.used
}

// Describe implements prometheus.Collector.
func (m *Budget) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m *Budget) Collect(ch chan<- prometheus.Metric) {
	gauge := func(name, help string, v float64) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, nil), prometheus.GaugeValue, v)
	}
	gauge("fanin_budget_bytes", "Memory of lines in flight.", float64(m.Used()))
	gauge("fanin_budget_arriving_bytes",
		"Memory of agents' texts that have begun to arrive and are incomplete.", float64(m.Arriving()))
	gauge("fanin_budget_waiting_seconds",
		"How long the connection that has waited longest for memory has waited.", m.Stalled().Seconds())
}
