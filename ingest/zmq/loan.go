package zmq

import (
	"context"

	"fanin/ingest"
	"fanin/internal/zmtp"
)

// loan lends one connection the memory for a message that does not fit into its buffer. How
// much all connections may hold for messages that have begun is bounded as for agents' frames,
// see ingest.Arrival. It is a zmtp.Memory.
type loan struct {
	n       *Input
	l       *zmtp.Link
	r       *reader // of the peer
	clock   ingest.FrameClock
	arrival *ingest.Arrival // nil: nothing was lent yet
	lent    bool
}

// Grow implements zmtp.Memory.
func (m *loan) Grow(ctx context.Context, block []byte, have, need int) ([]byte, error) {
	if m.arrival == nil {
		m.l.OnRead(m.read)
		m.arrival = m.n.Budget.Arrive(m.l.Addr, &m.clock, func() { m.l.Close() })
		m.arrival.Wait() // what a peer has sent it does not send again
	}
	m.lent = true
	if block != nil {
		block = block[:have]
	}
	first := block == nil // then what came of it is not the caller's to release
	for {
		larger, err := m.arrival.Grow(ctx, block, need, m.wait)
		switch {
		case err != nil && first:
			m.Release(block, false)
			return nil, err
		case err != nil || len(larger) > have:
			return larger, err
		}
		block = larger
	}
}

// wait runs f, in which the collector waits for itself and not for the peer. What the peer's
// reader has gathered is handed over before: memory that waits for memory would keep all inputs
// waiting.
//
// A SUB does not wait, or its publisher would drop what it does not count: the message is dropped here.
func (m *loan) wait(f func() error) error {
	if m.r.subs {
		m.r.n.counts.dropped.Inc()
		m.r.n.report.add(busy, 1, m.l.Remote)
		return zmtp.ErrNoMemory
	}
	m.clock.Pause()
	defer m.clock.Resume()
	if m.r.block != nil {
		m.r.handOver()
	}
	return f()
}

// read notes that n bytes came.
func (m *loan) read(n int) {
	if m.lent {
		m.clock.Add(n)
	}
}

// complete notes that the message has arrived: what it waits for now is not its peer.
func (m *loan) complete() {
	if m.lent {
		m.arrival.Done(true)
	}
}

// dismissed reports whether the connection was ended so that others get memory.
func (m *loan) dismissed() bool { return m.arrival != nil && m.arrival.Dismissed() }

// Release implements zmtp.Memory.
func (m *loan) Release(b []byte, complete bool) {
	m.n.Budget.Release(b)
	m.end(complete)
}

// end ends what was lent for one message.
func (m *loan) end(complete bool) {
	m.arrival.Done(complete)
	m.lent = false
	m.clock.Reset()
}

// leave ends the loan: the connection has ended.
func (m *loan) leave() {
	if m.arrival != nil {
		m.n.Budget.Leave(m.l.Addr, m.arrival)
	}
}
