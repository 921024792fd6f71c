package ingest

import (
	"net/netip"
	"sync"
	"time"

	"fanin/internal/origin"
)

// Rates bounds the bytes a second that come from one address. An address that was
// quiet may send a second's worth at once.
type Rates struct {
	limit float64 // bytes a second; 0: no bound

	mu   sync.Mutex
	debt map[netip.Prefix]debt
}

// debt is what an address has sent beyond its rate.
type debt struct {
	bytes float64
	at    time.Time
}

// maxDebts bounds the table: addresses of datagrams can be forged.
const maxDebts = 1 << 16

// NewRates returns the rates of a listener that reads at most limit bytes a second from
// one address; with 0 or less there is no bound.
func NewRates(limit int64) *Rates { return &Rates{limit: float64(max(limit, 0))} }

// Charge counts n bytes of peer, and returns for how long no more may be read.
func (r *Rates) Charge(peer netip.Addr, n int, now time.Time) time.Duration {
	if r.limit == 0 || n <= 0 {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key := origin.Network(peer)
	owed := r.owedLocked(key, now) + float64(n)
	r.setLocked(key, debt{owed, now})
	return time.Duration(max(owed-r.limit, 0) / r.limit * float64(time.Second))
}

// Allow counts n bytes of peer, unless they are too many: then it reports false.
func (r *Rates) Allow(peer netip.Addr, n int, now time.Time) bool {
	if r.limit == 0 {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key := origin.Network(peer)
	owed := r.owedLocked(key, now)
	if owed > 0 && owed+float64(n) > r.limit {
		return false
	}
	r.setLocked(key, debt{owed + float64(n), now})
	return true
}

// owedLocked returns an address's debt now.
func (r *Rates) owedLocked(key netip.Prefix, now time.Time) float64 {
	d := r.debt[key]
	return max(d.bytes-r.limit*now.Sub(d.at).Seconds(), 0)
}

// setLocked remembers d, and forgets addresses that owe nothing when there are too
// many.
func (r *Rates) setLocked(key netip.Prefix, d debt) {
	if r.debt == nil {
		r.debt = make(map[netip.Prefix]debt)
	}
	if _, known := r.debt[key]; !known && len(r.debt) >= maxDebts {
		for k := range r.debt {
			if r.owedLocked(k, d.at) == 0 {
				delete(r.debt, k)
			}
		}
		if len(r.debt) >= maxDebts {
			clear(r.debt)
		}
	}
	r.debt[key] = d
}
