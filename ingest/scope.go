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
	conns           int   // connections of agents
	pinned          int64 // bytes of half lines
	trusted, others queue // arrivals that wait, in the order in which they asked
	place           int   // in Budget.ready, from 1 on; 0: it is not there
}

// fits reports whether a may hold n more bytes.
func (s *scope) fits(a *Arrival, n int64) bool {
	oldest := s.members.first()
	return oldest == a || s.used-oldest.held+n <= s.limit
}

// next returns the arrival of an address that is served first: of those that are trusted, the oldest of
// all, and the others, the first that the address's limit allows. nil: there is none.
func (s *scope) next() *Arrival {
	for _, a := range [...]*Arrival{s.trusted.first(), s.members.first(), s.others.first()} {
		if a != nil && a.need > 0 && s.fits(a, a.need) {
			return a
		}
	}
	return nil
}

// ready is the addresses of which an arrival could be served but for the limits that all addresses
// share: first those with a trusted one, and then those that hold least. It is a heap.
type ready []*scope

// Len implements heap.Interface.
func (r ready) Len() int { return len(r) }

// Less implements heap.Interface.
func (r ready) Less(i, j int) bool {
	if a, b := r[i].next().trusted, r[j].next().trusted; a != b {
		return a
	}
	return r[i].used < r[j].used
}

// Swap implements heap.Interface.
func (r ready) Swap(i, j int) {
	r[i], r[j] = r[j], r[i]
	r[i].place, r[j].place = i+1, j+1
}

// Push implements heap.Interface.
func (r *ready) Push(s any) {
	*r = append(*r, s.(*scope))
	s.(*scope).place = len(*r)
}

// Pop implements heap.Interface.
func (r *ready) Pop() any {
	last := len(*r) - 1
	s := (*r)[last]
	(*r)[last] = nil
	*r = (*r)[:last]
	s.place = 0
	return s
}

// update puts s, of which something has changed, where it belongs.
func (r *ready) update(s *scope) {
	fits := s.next() != nil
	switch {
	case s.place > 0 && fits:
		heap.Fix(r, s.place-1)
	case s.place > 0:
		heap.Remove(r, s.place-1)
	case fits:
		heap.Push(r, s)
	}
}

// scopeLocked returns the scope of peer's address.
func (m *Budget) scopeLocked(peer netip.Addr) *scope {
	if m.addresses == nil {
		m.addresses = make(map[netip.Prefix]*scope)
		m.all.limit = m.limit() * 3 / 8 // with half lines and the oldest arrival, at most the budget
		m.unproven.limit = m.limit() / 8
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
