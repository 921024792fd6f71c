package ingest

import (
	"container/heap"
	"net/netip"

	"fanin/internal/origin"
)

// scope is a limit that several arrivals share, all but the oldest of them.
type scope struct {
	limit, used int64
	members     queue // the oldest first

	// Of an address:
	conns   int      // connections of agents
	pinned  int64    // bytes of half lines
	waiting [2]queue // arrivals that wait, in the order in which they asked: see rank
	place   [2]int   // in Budget.ready, from 1 on; 0: it is not there
}

// fits reports whether a may hold n more bytes.
func (s *scope) fits(a *Arrival, n int64) bool {
	oldest := s.members.first()
	return oldest == a || s.used-oldest.held+n <= s.limit
}

// next returns the arrival of an address and a rank that is served first: the oldest of all if it has
// that rank, since the address's limit does not bind it, or the first if the limit allows that. nil: there is none.
func (s *scope) next(rank int) *Arrival {
	for _, a := range [...]*Arrival{s.members.first(), s.waiting[rank].first()} {
		if a != nil && a.need > 0 && a.rank() == rank && s.fits(a, a.need) {
			return a
		}
	}
	return nil
}

// ready is the addresses of which an arrival of a rank could be served but for the limits that all addresses
// share: first those that hold least, then those whose text began first. It is a heap.
type ready struct {
	rank   int
	scopes []*scope
}

// Len implements heap.Interface.
func (r *ready) Len() int { return len(r.scopes) }

// Less implements heap.Interface.
func (r *ready) Less(i, j int) bool {
	a, b := r.scopes[i], r.scopes[j]
	if a.used != b.used {
		return a.used < b.used
	}
	return a.next(r.rank).order < b.next(r.rank).order
}

// Swap implements heap.Interface.
func (r *ready) Swap(i, j int) {
	r.scopes[i], r.scopes[j] = r.scopes[j], r.scopes[i]
	r.scopes[i].place[r.rank], r.scopes[j].place[r.rank] = i+1, j+1
}

// Push implements heap.Interface.
func (r *ready) Push(s any) {
	r.scopes = append(r.scopes, s.(*scope))
	s.(*scope).place[r.rank] = len(r.scopes)
}

// Pop implements heap.Interface.
func (r *ready) Pop() any {
	last := len(r.scopes) - 1
	s := r.scopes[last]
	r.scopes[last] = nil
	r.scopes = r.scopes[:last]
	s.place[r.rank] = 0
	return s
}

// update puts s, of which something has changed, where it belongs.
func (r *ready) update(s *scope) {
	fits, place := s.next(r.rank) != nil, s.place[r.rank]
	switch {
	case place > 0 && fits:
		heap.Fix(r, place-1)
	case place > 0:
		heap.Remove(r, place-1)
	case fits:
		heap.Push(r, s)
	}
}

// first returns the arrival that is served first; nil: there is none.
func (r *ready) first() *Arrival {
	if len(r.scopes) == 0 {
		return nil
	}
	return r.scopes[0].next(r.rank)
}

// scopeLocked returns the scope of peer's address.
func (m *Budget) scopeLocked(peer netip.Addr) *scope {
	if m.addresses == nil {
		m.addresses = make(map[netip.Prefix]*scope)
		m.all.limit = m.limit() * 3 / 8 // with half lines and the oldest arrival, at most the budget
		m.unproven.limit = m.limit() / 8
		m.ready[unproven].rank = unproven
	}
	s := m.addresses[origin.Network(peer)]
	if s == nil {
		s = &scope{limit: m.limit() / 12}
		m.addresses[origin.Network(peer)] = s
	}
	return s
}

// dropLocked forgets a scope that nothing uses.
func (m *Budget) dropLocked(peer netip.Addr, s *scope) {
	if s.conns == 0 && s.pinned == 0 {
		delete(m.addresses, origin.Network(peer))
	}
}
