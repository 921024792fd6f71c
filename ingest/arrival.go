package ingest

import (
	"container/ring"
	"context"
	"errors"
	"net/netip"
	"time"
)

// Arrival is the text of a connection's frame that has begun to come and is not
// complete. Its sender decides how long it holds memory, so all arrivals together may
// hold only a part of the Budget, and three scopes bound them: all of them, those of
// one address, and those of connections that have not proven themselves by a complete
// text. The memory grows with the bytes that come.
//
// No arrival waits for ever. A limit does not bind the oldest arrival in its scope,
// which may grow to the length it announced. The oldest of all is the oldest in each of
// its scopes, so it never waits for another sender; it becomes complete, or falls
// behind the least rate and is dismissed, and then the next one is the oldest. What is
// complete waits for the collector alone.
type Arrival struct {
	budget *Budget
	clock  *FrameClock // how long the sender has had, and what was read
	unread func() int  // bytes that have come besides
	end    func()      // ends the connection, without waiting
	over   chan struct{}

	// All below belongs to budget.mu.
	address *scope
	scopes  []*scope             // while a text comes
	places  [maxScopes]ring.Ring // in their members
	proven  int                  // the largest text of this connection that became complete
	trusted bool                 // the text is no larger than what was proven
	order   int64                // arrivals that began until this one did
	held    int64                // bytes of the text's block
	need    int64                // more bytes that it waits for; 0: it does not wait
	asked   time.Time
	queued  ring.Ring     // in Budget.queue, while it waits
	turn    ring.Ring     // in a queue of its address, while it waits
	ready   chan struct{} // of capacity 1: it is served
	ended   bool
	patient bool
	pace
}

const (
	maxScopes  = 3
	firstStep  = 4 << 10  // a text of an unproven connection gets so much at first, then four times as much
	smallText  = 64 << 10 // the largest block that a trusted text gets at once while there is little memory
	trustSteps = 4        // a text of up to so many times the largest complete one is trusted
)

// Ranks of arrivals that wait. They take turns: unproven ones have a limit of their own, so they take little of
// what the trusted ones may have, and if these went first, connections that come back while memory is short
// would be dismissed, come back again, and so on.
const (
	trusted = iota
	unproven
)

func (a *Arrival) rank() int {
	if a.trusted {
		return trusted
	}
	return unproven
}

// ErrCrowded is why an arrival is dismissed.
var ErrCrowded = errors.New("memory for frames that have begun is used up, " +
	"and this one came more slowly than others: send it again later, in smaller batches")

// Arrive returns the arrival of a connection from peer, which Leave ends. end must end
// the connection without waiting.
func (m *Budget) Arrive(peer netip.Addr, clock *FrameClock, end func()) *Arrival {
	a := &Arrival{budget: m, clock: clock, end: end, over: make(chan struct{}), ready: make(chan struct{}, 1)}
	for i := range a.places {
		a.places[i].Value = a
	}
	a.queued.Value, a.turn.Value = a, a
	m.mu.Lock()
	defer m.mu.Unlock()
	a.address = m.scopeLocked(peer)
	a.address.conns++
	return a
}

// Expect tells how many bytes have come that the clock does not know of.
func (a *Arrival) Expect(unread func() int) { a.unread = unread }

// Wait makes a one whose sender cannot send again what is lost: it is dismissed if its own bytes
// come too slowly, and not for how long it waits for memory.
func (a *Arrival) Wait() {
	a.budget.mu.Lock()
	defer a.budget.mu.Unlock()
	a.patient = true
}

// Leave ends the arrival of a connection from peer: the connection has ended.
func (m *Budget) Leave(peer netip.Addr, a *Arrival) {
	a.Done(false)
	m.mu.Lock()
	defer m.mu.Unlock()
	a.address.conns--
	m.dropLocked(peer, a.address)
}

// beginLocked begins a text of n bytes.
func (a *Arrival) beginLocked(n int) {
	m := a.budget
	a.leaveLocked() // a text before that was not ended would tear the queues apart
	a.clock.start()
	a.trusted = n <= trustSteps*a.proven
	a.pace = pace{}
	m.begun++
	a.order = m.begun
	a.scopes = append(a.scopes[:0], &m.all, a.address)
	if !a.trusted {
		a.scopes = append(a.scopes, &m.unproven)
	}
	for i, s := range a.scopes {
		s.members.add(&a.places[i])
	}
}

// distrustLocked makes a an arrival of a connection that has not proven itself. The members
// of the scope stay in the order in which they began: the oldest of all is the oldest there,
// too.
func (a *Arrival) distrustLocked() {
	s := &a.budget.unproven
	a.trusted = false
	s.members.insert(a, &a.places[len(a.scopes)])
	a.scopes = append(a.scopes, s)
	s.used += a.held
}

// Done ends the text: it is complete, or its connection ends.
func (a *Arrival) Done(complete bool) {
	m := a.budget
	m.mu.Lock()
	defer m.mu.Unlock()
	if complete {
		a.proven = max(a.proven, int(a.held), firstStep)
	}
	a.leaveLocked()
	m.changedLocked(a.address)
}

// leaveLocked takes a out of its scopes.
func (a *Arrival) leaveLocked() {
	for i, s := range a.scopes {
		s.used -= a.held
		leave(&a.places[i])
	}
	a.scopes, a.held = a.scopes[:0], 0
}

// stepLocked returns how large the block should be that follows one of have bytes. A
// text that can be trusted gets its whole block while there is plenty, or if it is small:
// each step may be a wait.
func (a *Arrival) stepLocked(have, n, came int) int64 {
	m := a.budget
	whole := TextSize(n)
	plenty := m.all.used+whole <= m.all.limit/2 && m.used+whole <= m.limit()/2
	if a.trusted && (plenty || whole <= smallText) {
		return whole
	}
	return TextSize(min(n, max(4*have, firstStep, came)))
}

// came returns how many bytes of a text of n have come, if it matters: the memory for these is in use no
// longer than it takes to read them. Without it thousands of connections that return with a backlog would
// all hold the first part of their texts, and wait for each other until they are dismissed.
func (a *Arrival) came(n int) int {
	small := n <= smallText && n <= trustSteps*a.proven // it gets its whole block
	if n <= firstStep || small || a.unread == nil {
		return 0
	}
	return int(a.clock.Bytes()) + a.unread()
}

// Grow returns a block that begins with have, whose block it releases, and that has
// space for more of a text of n bytes. When there is no memory now it waits, within
// wait.
func (a *Arrival) Grow(ctx context.Context, have []byte, n int, wait func(func() error) error) ([]byte, error) {
	m, came := a.budget, a.came(n)
	m.mu.Lock()
	switch {
	case have == nil:
		a.beginLocked(n)
	case a.trusted && n > trustSteps*a.proven: // the labels came first, then the length of the text
		a.distrustLocked()
	}
	block := a.stepLocked(len(have), n, came)
	more := block - int64(cap(have))
	charged := a.chargeLocked(more)
	m.changedLocked(a.address)
	if charged && !m.waitedForLocked() && m.fitsLocked(more, m.ample()) {
		m.used += more
		b := m.idleLocked(block)
		m.mu.Unlock()
		return m.replace(have, orNew(b, block)), nil
	}
	m.mu.Unlock()
	err := wait(func() error {
		if !charged {
			if err := a.await(ctx, more); err != nil {
				return err
			}
		}
		_, err := m.await(ctx, arriving, more, m.ample())
		return err
	})
	if err != nil {
		return nil, err
	}
	return m.exchange(have, block), nil
}

// chargeLocked counts n more bytes, if all scopes allow it.
func (a *Arrival) chargeLocked(n int64) bool {
	for _, s := range a.scopes {
		if !s.fits(a, n) {
			return false
		}
	}
	for _, s := range a.scopes {
		s.used += n
	}
	a.held += n
	return true
}

// await waits until n more bytes were charged, or the arrival was dismissed.
func (a *Arrival) await(ctx context.Context, n int64) error {
	m := a.budget
	m.mu.Lock()
	a.need, a.asked = n, time.Now()
	m.queue.add(&a.queued)
	a.address.waiting[a.rank()].add(&a.turn)
	m.changedLocked(a.address)
	if !m.sweeping {
		m.sweeping = true
		time.AfterFunc(sweepEvery, m.sweep) // ends when nothing waits
	}
	m.mu.Unlock()
	var err error
	select {
	case <-a.ready:
		return nil
	case <-a.over:
		err = ErrCrowded
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-a.ready: // served in the meantime
		return nil
	default:
	}
	a.standDownLocked()
	m.admitLocked() // a smaller one may have waited behind it
	return err
}

// standDownLocked ends the wait of a, if it waits.
func (a *Arrival) standDownLocked() {
	leave(&a.queued)
	leave(&a.turn)
	a.need = 0
	a.budget.updateLocked(a.address)
}

// changedLocked is to be called when something of an address has changed.
func (m *Budget) changedLocked(s *scope) {
	m.updateLocked(s)
	m.admitLocked()
}

func (m *Budget) updateLocked(s *scope) {
	for rank := range m.ready {
		m.ready[rank].update(s)
	}
}

// admitLocked serves the arrivals that wait: those that a limit does not bind, since they are the
// oldest, and then in turns those of each rank whose address is next (see ready), until none fits. An
// arrival that does not fit into what its address may have lets other addresses pass.
//
// It looks at those that it serves and at four more, never at all that wait.
func (m *Budget) admitLocked() {
	for _, s := range [...]*scope{&m.all, &m.unproven} {
		if oldest := s.members.first(); oldest != nil && oldest.need > 0 {
			oldest.serveLocked()
		}
	}
	for m.serveRankLocked() {
	}
}

// serveRankLocked serves an arrival of the rank whose turn it is. If there is none that its own limits allow,
// it serves one of the other rank: what one lacks of what all may have is kept for it.
func (m *Budget) serveRankLocked() bool {
	r, other := &m.ready[m.rank], &m.ready[1-m.rank]
	a := r.first()
	switch {
	case a != nil && a.serveLocked():
		m.rank = 1 - m.rank
		return true
	case a != nil && !m.all.fits(a, a.need) && (a.trusted || m.unproven.fits(a, a.need)):
		return false
	}
	a = other.first()
	return a != nil && a.serveLocked()
}

// serveLocked gives a what it waits for, if all scopes allow it.
func (a *Arrival) serveLocked() bool {
	if !a.chargeLocked(a.need) {
		return false
	}
	a.standDownLocked()
	a.ready <- struct{}{} // has space: each wait takes it
	return true
}

// dismissLocked ends the connection.
func (a *Arrival) dismissLocked() {
	if !a.ended {
		a.ended = true
		a.standDownLocked()
		close(a.over)
		a.end()
	}
}

// Dismissed reports whether the connection ends so that others get memory.
func (a *Arrival) Dismissed() bool {
	select {
	case <-a.over:
		return true
	default:
		return false
	}
}
