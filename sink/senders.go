package sink

import (
	"cmp"
	"slices"

	"fanin/internal/wire"
)

// senders counts streams by where they come from, which limits go by. The peer's
// address stands for senders without a certificate; it is empty for all others.
type senders struct {
	agents    map[string]int          // streams by agent's id, of all its sessions
	addresses map[string]int          // streams of agents, by address
	unproven  int                     // streams of all of these
	lossy     map[string]*lossySender // by address
	all       lossySender             // of all addresses together
}

// lossySender is the lossy streams of one address, or of all.
type lossySender struct {
	streams int
	single  []*stream // those that began with one batch, oldest first; some had more, or ended, since
}

func newSenders() senders {
	return senders{agents: make(map[string]int), addresses: make(map[string]int), lossy: make(map[string]*lossySender)}
}

func (s *senders) add(st *stream) {
	switch o := st.origin.Value(); o.kind {
	case wire.StreamAgent:
		s.agents[wire.AgentID(o.agent)]++
		if o.address != "" {
			s.addresses[o.address]++
			s.unproven++
		}
	case wire.StreamLossy:
		if s.lossy[o.address] == nil {
			s.lossy[o.address] = new(lossySender)
		}
		s.lossy[o.address].add(st)
		s.all.add(st)
	}
}

func (s *senders) remove(st *stream) {
	switch o := st.origin.Value(); o.kind {
	case wire.StreamAgent:
		decrement(s.agents, wire.AgentID(o.agent))
		if o.address == "" {
			return
		}
		s.unproven--
		decrement(s.addresses, o.address)
	case wire.StreamLossy:
		l := s.lossy[o.address]
		l.streams--
		s.all.streams--
		if l.streams == 0 {
			delete(s.lossy, o.address)
		}
	}
}

// decrement counts one less, and keeps no zero.
func decrement(counts map[string]int, of string) {
	if counts[of]--; counts[of] == 0 {
		delete(counts, of)
	}
}

func (l *lossySender) add(st *stream) {
	l.streams++
	if !st.hadOneBatch() {
		return
	}
	if len(l.single) > 2*l.streams+16 {
		l.single = slices.DeleteFunc(l.single, func(x *stream) bool { return !x.hadOneBatch() })
	}
	l.single = append(l.single, st)
}

// sort puts the oldest first again, after a catalog was read in any order.
func (s *senders) sort() {
	s.all.sort()
	for _, l := range s.lossy {
		l.sort()
	}
}

func (l *lossySender) sort() {
	slices.SortFunc(l.single, func(a, b *stream) int { return cmp.Compare(a.seen, b.seen) })
}

// oldestSingle is the stream that sent one batch, and that longest ago; nil: there
// is none.
func (l *lossySender) oldestSingle() *stream {
	for len(l.single) > 0 {
		if st := l.single[0]; st.hadOneBatch() {
			return st
		}
		l.single[0] = nil
		l.single = l.single[1:]
	}
	return nil
}

// displaceable is a stream that a new one of address may take the place of: of
// the same address before all others. nil: there is none.
func (s *senders) displaceable(address string, anyAddress bool) *stream {
	if l := s.lossy[address]; l != nil {
		if st := l.oldestSingle(); st != nil {
			return st
		}
	}
	if anyAddress {
		return s.all.oldestSingle()
	}
	return nil
}
