package access

import (
	"net/netip"
	"sync"
	"time"

	"fanin/internal/origin"
)

// The bounds of failed attempts to log in.
const (
	burst       = 10          // of one address at once, each with a notice
	refill      = time.Minute // until one more
	manyBurst   = 60          // notices of all addresses together
	manyRefill  = 6 * time.Second
	maxAttempts = 4096 // addresses; the others share one bucket
)

// attempts limits the failed attempts to log in: of each address (see package origin), and the
// notices of them in all.
type attempts struct {
	mu     sync.Mutex
	by     map[netip.Prefix]*bucket
	others bucket
	all    bucket
	swept  time.Time // when those that are full again were forgotten
}

func newAttempts() attempts { return attempts{by: make(map[netip.Prefix]*bucket)} }

// bucket is a number of attempts that is used up, and that is filled up in time.
type bucket struct {
	used   int
	since  time.Time // the last time that it was filled up by one
	hidden int       // failures without a notice
}

// take takes one of size attempts; false: none is left.
func (b *bucket) take(now time.Time, size int, every time.Duration) bool {
	b.fill(now, every)
	if b.used >= size {
		return false
	}
	if b.used == 0 {
		b.since = now
	}
	b.used++
	return true
}

// fill gives back what time has.
func (b *bucket) fill(now time.Time, every time.Duration) {
	if now.Before(b.since) { // the clock was set back
		b.since = now
	}
	back := min(int(now.Sub(b.since)/every), b.used)
	b.used -= back
	b.since = b.since.Add(time.Duration(back) * every)
}

// fail counts a failed attempt of an address. failures is how many a notice should report now, 0
// for no notice; limited: the address has failed too often.
func (a *attempts) fail(ip netip.Addr, now time.Time) (failures int, limited bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	b := a.of(origin.Network(ip), now)
	b.hidden++
	if !b.take(now, burst, refill) {
		return 0, true
	}
	if a.all.take(now, manyBurst, manyRefill) {
		failures, b.hidden = b.hidden, 0
	}
	return failures, false
}

// of returns the bucket of a network. Those that are full again are forgotten when there are too
// many.
func (a *attempts) of(network netip.Prefix, now time.Time) *bucket {
	if b := a.by[network]; b != nil {
		return b
	}
	if len(a.by) >= maxAttempts && now.Sub(a.swept).Abs() >= time.Second {
		a.swept = now
		for n, b := range a.by {
			if b.fill(now, refill); b.used == 0 {
				delete(a.by, n)
			}
		}
	}
	if len(a.by) >= maxAttempts {
		return &a.others
	}
	b := new(bucket)
	a.by[network] = b
	return b
}
