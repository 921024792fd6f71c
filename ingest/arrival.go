package ingest

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"fanin/internal/origin"
)

// arrival is the text of a connection's frame that has begun to come and is not
// complete. Its sender decides how long it holds memory, so all arrivals
// together may hold only a part of the Budget, and three scopes bound them: all of
// them, those of one address, and those of connections that have not proven
// themselves. The memory grows with the bytes that come.
//
// No arrival waits for ever. A limit does not bind the oldest arrival in its
// scope, which may grow to the length it announced. The oldest of all is the
// oldest in each of its scopes, so it never waits for another sender; it becomes
// complete, or falls behind the least rate and is ended, and then the next one is
// the oldest. What is complete waits for the collector alone.
type Arrival struct {
	room  *Budget
	clock *FrameClock // how long the sender has had, and what has come
	end   func()      // ends the connection, without waiting
	over  chan struct{}

	// All below belongs to room.mu.
	address  *scope
	scopes   []*scope // while a text comes
	proven   int      // the largest text of this connection that became complete
	trusted  bool     // the text is no larger than what was proven
	held     int64    // bytes of the text's block
	need     int64    // more bytes it waits for; 0: it does not wait
	asked    time.Time
	sweeps   int // that the text has waited for, while the collector got on
	ready    chan struct{}
	ended    bool
	last     int64         // bytes that had come by the last sweep
	quiet    int           // sweeps since when none came
	marked   time.Duration // the window in which a large text must bring leastStep begins here
	markedAt int64         // bytes that had come by then
}

const (
	firstStep  = 4 << 10  // what a text of an unproven connection gets at first; then four times as much each time
	leastStep  = 64 << 10 // what an arrival that holds more must bring in each stallTime while others wait
	stallTime  = 2 * time.Second
	crowdRate  = 64 << 10 // bytes a second that an arrival must bring while others wait
	crowdTime  = 5 * time.Second
	trustSteps = 4 // a text this many times as large as the largest that was complete is trusted
	sweepEvery = 100 * time.Millisecond
	patience   = int(time.Second / sweepEvery)
	quietTime  = int(200 * time.Millisecond / sweepEvery)
)

// ErrCrowded ends an arrival.
var ErrCrowded = errors.New("memory for frames that have begun is used up, and this one came more slowly than others: send it again later, in smaller batches")

// scope is a limit that several arrivals share, all but the oldest of them.
type scope struct {
	limit, used int64
	members     []*Arrival // the oldest first
	conns       int        // of an address: connections of agents
	pinned      int64      // of an address: bytes of half lines
}

func (s *scope) fits(a *Arrival, n int64) bool {
	oldest := s.members[0]
	return oldest == a || s.used-oldest.held+n <= s.limit
}

// arrive makes the arrival of a connection from peer, which leave gives back.
func (r *Budget) Arrive(peer netip.Addr, clock *FrameClock, end func()) *Arrival {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.scopeOf(peer)
	s.conns++
	return &Arrival{room: r, clock: clock, end: end, over: make(chan struct{}), address: s}
}

// leave says that the connection of a, from peer, has ended.
func (r *Budget) Leave(peer netip.Addr, a *Arrival) {
	a.Done(false)
	r.mu.Lock()
	defer r.mu.Unlock()
	a.address.conns--
	r.drop(peer, a.address)
}

// scopeOf is the scope of peer's address. r.mu is held.
func (r *Budget) scopeOf(peer netip.Addr) *scope {
	if r.addresses == nil {
		r.addresses = make(map[netip.Prefix]*scope)
		r.all.limit = r.limit() * 3 / 8 // with half lines and the oldest arrival, at most the Budget
		r.strangers.limit = r.limit() / 8
	}
	s := r.addresses[origin.Network(peer)]
	if s == nil {
		s = &scope{limit: r.limit() / 12}
		r.addresses[origin.Network(peer)] = s
	}
	return s
}

// drop forgets a scope that nothing uses. r.mu is held.
func (r *Budget) drop(peer netip.Addr, s *scope) {
	if s.conns == 0 && s.pinned == 0 {
		delete(r.addresses, origin.Network(peer))
	}
}

// begin says that a text of n bytes begins to come. r.mu is held.
func (a *Arrival) begin(n int) {
	r := a.room
	a.clock.start()
	a.trusted = n <= trustSteps*a.proven
	a.sweeps, a.marked, a.markedAt, a.last, a.quiet = 0, 0, 0, 0, 0
	a.scopes = append(a.scopes[:0], &r.all, a.address)
	if !a.trusted {
		a.scopes = append(a.scopes, &r.strangers)
	}
	for _, s := range a.scopes {
		s.members = append(s.members, a)
	}
}

// distrust makes a an arrival of a connection that has not proven itself. r.mu is held.
func (a *Arrival) distrust() {
	s := &a.room.strangers
	a.trusted = false
	a.scopes = append(a.scopes, s)
	s.members = append(s.members, a)
	s.used += a.held
}

// done says that the text is complete, or that its connection ends.
func (a *Arrival) Done(complete bool) {
	r := a.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if complete {
		a.proven = max(a.proven, int(a.held))
	}
	for _, s := range a.scopes {
		s.used -= a.held
		i := slices.Index(s.members, a)
		s.members = slices.Delete(s.members, i, i+1)
	}
	a.scopes, a.held = a.scopes[:0], 0
	r.admit()
}

// step is how large the block should be that follows one of have bytes. A text
// that can be trusted gets its whole block while there is plenty.
func (a *Arrival) step(have, n int) int64 {
	r := a.room
	if whole := BlockSize(n); a.trusted && r.all.used+whole <= r.all.limit/2 && r.used+whole <= r.limit()/2 {
		return whole
	}
	return BlockSize(min(n, max(4*have, firstStep)))
}

// grow gives a block that begins with have, which it takes back, and has space
// for more of a text of n bytes. When there is none now it waits, within wait.
func (a *Arrival) Grow(ctx context.Context, have []byte, n int, wait func(func() error) error) ([]byte, error) {
	r := a.room
	r.mu.Lock()
	switch {
	case have == nil:
		a.begin(n)
	case a.trusted && n > trustSteps*a.proven: // the labels came first, then the length of the text
		a.distrust()
	}
	block := a.step(len(have), n)
	more := block - int64(cap(have))
	charged := a.charge(more)
	granted := charged && len(r.waiting) == 0 && r.fits(more, r.ample())
	if granted {
		r.used += more
	}
	r.mu.Unlock()
	if !granted {
		err := wait(func() error {
			if !charged {
				if err := a.await(ctx, more); err != nil {
					return err
				}
			}
			return r.reserve(ctx, more, r.ample())
		})
		if err != nil {
			return nil, err
		}
	}
	return r.exchange(have, block), nil
}

// charge counts n more bytes, if all scopes allow it. r.mu is held.
func (a *Arrival) charge(n int64) bool {
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

// await waits until n more bytes were charged, or the arrival was ended.
func (a *Arrival) await(ctx context.Context, n int64) error {
	r := a.room
	r.mu.Lock()
	a.need, a.asked, a.ready = n, time.Now(), make(chan struct{})
	r.queue = append(r.queue, a)
	r.admit()
	if !r.sweeping {
		r.sweeping = true
		time.AfterFunc(sweepEvery, r.sweep) // ends when nothing waits
	}
	r.mu.Unlock()
	var err error
	select {
	case <-a.ready:
		return nil
	case <-a.over:
		err = ErrCrowded
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.queue, a); i >= 0 {
		r.queue = slices.Delete(r.queue, i, i+1)
	}
	a.need = 0
	return err
}

// admit gives to the arrivals that wait: in turn, and after them to the unproven,
// those first whose address holds least. One that does not fit lets others pass.
// r.mu is held.
func (r *Budget) admit() {
	slices.SortStableFunc(r.queue, func(a, b *Arrival) int { return cmp.Compare(a.rank(), b.rank()) })
	r.queue = slices.DeleteFunc(r.queue, func(a *Arrival) bool {
		if a.ended || !a.charge(a.need) {
			return false
		}
		a.need = 0
		close(a.ready)
		return true
	})
}

func (a *Arrival) rank() int64 {
	if a.trusted {
		return -1
	}
	return a.address.used
}

// sweep looks after the arrivals while some wait: it ends those that are behind
// the rate or have stalled, and of the unproven, those that have waited for long,
// those that are quiet where others hold less, and the slowest one when others have
// waited for a while. While nothing is
// written, the fault is the collector's own, and none is ended.
func (r *Budget) sweep() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sweeping = len(r.queue) > 0; !r.sweeping {
		return
	}
	time.AfterFunc(sweepEvery, r.sweep) // ends when nothing waits
	stuck := len(r.waiting) > 0 && r.given == r.swept
	r.swept = r.given
	if stuck {
		return
	}
	for _, a := range r.all.members {
		if a.slow() {
			a.dismiss()
		}
	}
	long := false
	for _, a := range r.queue {
		a.sweeps++
		if !a.trusted && a.sweeps >= int(crowdTime/sweepEvery) {
			a.dismiss()
		}
		long = long || !a.trusted && a.sweeps >= patience
	}
	if i := slices.IndexFunc(r.queue, func(a *Arrival) bool { return !a.trusted }); i >= 0 {
		r.makeWay(r.queue[i])
	}
	if long {
		r.slowestStranger().dismiss()
	}
}

// makeWay ends unproven arrivals that nothing comes of, of addresses that hold
// more than that of w, until there is enough for w. r.mu is held.
func (r *Budget) makeWay(w *Arrival) {
	for freed := int64(0); freed < w.need; {
		var largest *Arrival
		for _, a := range r.strangers.members[1:] {
			if !a.ended && a.held > 0 && a.quiet >= quietTime && a.address.used > w.address.used+w.need &&
				(largest == nil || a.address.used > largest.address.used) {
				largest = a
			}
		}
		if largest == nil {
			return
		}
		largest.dismiss()
		freed += largest.held
	}
}

// slow reports whether a has fallen behind. r.mu is held.
func (a *Arrival) slow() bool {
	age, came := a.clock.age(), a.clock.Bytes()
	a.quiet++
	if came != a.last || a.clock.Paused() {
		a.last, a.quiet = came, 0
	}
	if age > crowdTime+time.Duration(came)*time.Second/crowdRate {
		return true
	}
	if age < a.marked+stallTime {
		return false
	}
	stalled := a.held > leastStep && came-a.markedAt < leastStep
	a.marked, a.markedAt = age, came
	return stalled
}

// slowestStranger is the slowest unproven arrival that is neither the oldest nor
// just begun; nil: there is none. r.mu is held.
func (r *Budget) slowestStranger() (slowest *Arrival) {
	least := 0.0
	for i, a := range r.strangers.members {
		age := a.clock.age()
		if i == 0 || a.ended || a.held == 0 || age < time.Second && a.need == 0 {
			continue
		}
		if rate := float64(a.clock.Bytes()) / max(age, time.Millisecond).Seconds(); slowest == nil || rate < least {
			slowest, least = a, rate
		}
	}
	return slowest
}

// dismiss ends the connection. r.mu is held.
func (a *Arrival) dismiss() {
	if a != nil && !a.ended {
		a.ended = true
		close(a.over)
		a.end()
	}
}

// dismissed reports whether the connection ends because others wait.
func (a *Arrival) Dismissed() bool {
	select {
	case <-a.over:
		return true
	default:
		return false
	}
}
