package ingest

import (
	"net/netip"

	"fanin/internal/origin"
)

// scope is a limit that several arrivals share, all but the oldest of them.
type scope struct {
	limit, used int64
	members     []*Arrival // the oldest first
	conns       int        // of an address: connections of agents
	pinned      int64      // of an address: bytes of half lines
}

// fits reports whether a may hold n more bytes.
func (s *scope) fits(a *Arrival, n int64) bool {
	oldest := s.members[0]
	return oldest == a || s.used-oldest.held+n <= s.limit
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
