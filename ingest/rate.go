package ingest

import (
	"net/netip"
	"sync"
	"time"

	"fanin/internal/origin"
)

// rates bounds the bytes a second that come from one address. An address that was
// quiet may send a second's worth at once.
type rates struct {
	limit float64 // bytes a second; 0: no bound

	mu   sync.Mutex
	debt map[netip.Prefix]debt
}

// debt is what an address has sent beyond its rate.
type debt struct {
	bytes float64
	at    time.Time
}

// maxDebts bounds the table: addresses of datagrams can be made up.
const maxDebts = 1 << 16

// left is an address's debt now. r.mu is held.
func (r *rates) left(key netip.Prefix, now time.Time) float64 {
	d := r.debt[key]
	return max(d.bytes-r.limit*now.Sub(d.at).Seconds(), 0)
}

// charge counts n bytes of peer, and returns for how long no more may be read.
func (r *rates) charge(peer netip.Addr, n int, now time.Time) time.Duration {
	if r.limit == 0 || n <= 0 {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key := origin.Network(peer)
	owed := r.left(key, now) + float64(n)
	r.set(key, debt{owed, now})
	return time.Duration(max(owed-r.limit, 0) / r.limit * float64(time.Second))
}

// allow counts n bytes of peer, unless they are too many.
func (r *rates) allow(peer netip.Addr, n int, now time.Time) bool {
	if r.limit == 0 {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key := origin.Network(peer)
	owed := r.left(key, now)
	if owed > 0 && owed+float64(n) > r.limit {
		return false
	}
	r.set(key, debt{owed + float64(n), now})
	return true
}

// set keeps d, and forgets addresses that owe nothing when there are too many.
// r.mu is held.
func (r *rates) set(key netip.Prefix, d debt) {
	if r.debt == nil {
		r.debt = make(map[netip.Prefix]debt)
	}
	if _, known := r.debt[key]; !known && len(r.debt) >= maxDebts {
		for k := range r.debt {
			if r.left(k, d.at) == 0 {
				delete(r.debt, k)
			}
		}
		if len(r.debt) >= maxDebts {
			clear(r.debt)
		}
	}
	r.debt[key] = d
}
