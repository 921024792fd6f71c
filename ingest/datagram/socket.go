package datagram

import (
	"net/netip"
	"time"

	"fanin/internal/counters"
	"fanin/internal/lines"
	"fanin/internal/origin"
	"fanin/internal/wire"
)

// Socket is a socket that is being served, for its handlers.
type Socket struct {
	l        *Listener
	q        *queue
	handlers []Handler
	names    map[netip.Addr]Names
	ticks    []func(now time.Time)
	ticked   time.Time
}

// TickEvery is how often what OnTick set is called.
const TickEvery = 200 * time.Millisecond

// OnTick has f called about once in TickEvery, on the goroutine of the handlers, and a last
// time, with the zero time, when no datagram will come.
func (s *Socket) OnTick(f func(now time.Time)) { s.ticks = append(s.ticks, f) }

// tick calls what OnTick set, if it is time.
func (s *Socket) tick(now time.Time) {
	if now.Sub(s.ticked) >= TickEvery {
		s.ticked = now
		s.tickAll(now)
	}
}

func (s *Socket) tickAll(now time.Time) {
	for _, f := range s.ticks {
		f(now)
	}
}

// Names is where a datagram comes from, as text.
type Names struct {
	Host    string // the name that it was given, or else the address: the host of the lines
	Address string // what counts as the peer's address, see package origin
}

func newSocket(l *Listener, q *queue) *Socket {
	s := &Socket{l: l, q: q, names: make(map[netip.Addr]Names)}
	for _, f := range l.Formats {
		s.handlers = append(s.handlers, f())
	}
	return s
}

func (s *Socket) handle(d *Datagram) {
	for _, h := range s.handlers {
		if h(s, d) {
			return
		}
	}
	s.Refuse("a datagram is of no known format", "peer", d.Peer)
}

// Names returns the names of a peer. Addresses of datagrams can be forged, so what is
// remembered is bounded.
func (s *Socket) Names(peer netip.Addr) Names {
	n, ok := s.names[peer]
	if !ok {
		if len(s.names) >= 1024 {
			clear(s.names)
		}
		n = Names{s.l.Peers.Host(peer), origin.Name(peer)}
		s.names[peer] = n
	}
	return n
}

// AddLines queues lines of a datagram whose sender is not a stream. The last line lacks
// its newline. Lines of one peer stay in order, also where their labels differ.
func (s *Socket) AddLines(in *counters.Input, d *Datagram, labels wire.Labels, text []byte) {
	s.addText(in, d, labels, text, false)
}

// AddRecords is AddLines for lines that wire.AppendRecord made, so that they may have
// newlines inside. An input adds all its lines with it, or none.
func (s *Socket) AddRecords(in *counters.Input, d *Datagram, labels wire.Labels, text []byte) {
	s.addText(in, d, labels, text, wire.IsRecord(text))
}

func (s *Socket) addText(in *counters.Input, d *Datagram, labels wire.Labels, text []byte, joined bool) {
	n := lines.Count(text) + 1
	in.Received(n, len(text)+1)
	s.q.add(&addition{
		key: key{host: d.Peer}, in: in, lines: n, labels: labels,
		batch: wire.Batch{Time: d.Time, Input: in.Name(), Host: labels.Host, Source: labels.Source, Text: text,
			Joined: joined},
	})
}

// AddBatch queues a batch of a lossy stream. Batches that continue one another become
// one.
func (s *Socket) AddBatch(in *counters.Input, b *wire.Batch) {
	n := lines.Count(b.Text)
	in.Received(n, len(b.Text))
	b.Input = in.Name()
	s.q.add(&addition{key: key{stream: b.Stream.Owned(b.Kind, b.Agent)}, in: in, lines: n, batch: *b})
}

// Empty counts a datagram without a line.
func (s *Socket) Empty() { s.l.metrics.empty().Inc() }

// Refuse counts a datagram that is dropped because of what it holds, and logs why.
func (s *Socket) Refuse(why string, args ...any) {
	s.l.metrics.dropped("refused").Inc()
	s.l.limited.Warn("udp_refused", why, args...)
}
