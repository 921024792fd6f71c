package distribute

import (
	"net"
	"slices"
	"time"

	"fanin/sink/distribute/protocol"
)

// member is a worker that is connected. What is below mu's line belongs to its
// group's lock.
type member struct {
	group *group
	nc    net.Conn
	hello protocol.Hello
	id    uint64
	since time.Time
	wake  chan struct{} // something is to be written

	credit    int
	lease     time.Duration
	active    bool        // lines may be handed to it
	suspended bool        // it let a lease end, and has said nothing since
	gone      bool        // it is to be written to no more
	last      uint64      // number of the last delivery
	flight    []*delivery // in the order of their numbers; answered ones leave from the front
	inFlight  int         // lines without an answer
	queue     []*delivery // not yet written
	notes     []byte      // frames not yet written
	closing   bool        // closed when the notes are written
	behind    spans       // with keys: lines that are to go to this worker alone
	building  *delivery   // during a pass
	passed    float64     // lines handed to it, by weight

	pausedUntil time.Time // with keys: a line of it failed and has to wait
	handed      uint64
	acked       uint64
}

const (
	maxQueue     = 2       // deliveries that wait for a worker to read them
	maxNotes     = 1 << 20 // bytes that wait for a worker which does not read
	writeTimeout = 30 * time.Second
)

// room is how many lines may be handed to it now.
func (m *member) room() int {
	if !m.active || m.suspended || m.gone || len(m.queue) >= maxQueue || !m.pausedUntil.IsZero() && time.Now().Before(m.pausedUntil) {
		return 0
	}
	return m.credit - m.inFlight
}

// find returns a delivery that has lines without an answer.
func (m *member) find(n uint64) *delivery {
	i, ok := slices.BinarySearchFunc(m.flight, n, func(d *delivery, n uint64) int {
		if d.n < n {
			return -1
		}
		return int(min(d.n-n, 1))
	})
	if !ok || m.flight[i].left == 0 {
		return nil
	}
	return m.flight[i]
}

// settle drops answered deliveries.
func (m *member) settle() {
	i := 0
	for i < len(m.flight) && m.flight[i].left == 0 {
		m.flight[i] = nil
		i++
	}
	m.flight = m.flight[i:]
}

// note adds a frame to be written. A worker that does not read is let go.
func (m *member) note(f *protocol.Frame) {
	if m.gone {
		return
	}
	m.notes = protocol.AppendFrame(m.notes, f)
	if len(m.notes) > maxNotes {
		m.gone = true
		m.nc.Close()
	}
	m.signal()
}

func (m *member) signal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// read takes the worker's frames until the connection ends. The error says why.
func (m *member) read(r *protocol.Reader) error {
	for {
		f, err := r.Frame()
		if err != nil {
			return err
		}
		if err := m.group.heard(m, &f); err != nil {
			return err
		}
	}
}

// write writes what is there for the worker until the connection ends.
func (m *member) write(done <-chan struct{}) {
	var queue []*delivery
	var notes, head []byte
	for {
		select {
		case <-m.wake:
		case <-done:
			return
		}
		m.group.mu.Lock()
		queue, m.queue = m.queue, queue[:0]
		notes, m.notes = m.notes, notes[:0]
		closing := m.closing
		for _, d := range queue {
			d.sent = true
		}
		m.group.mu.Unlock()
		for _, d := range queue {
			head = d.head(head[:0])
			if !m.send(head, d.text) {
				return
			}
			m.group.d.recycle(d.text)
			d.text = nil
		}
		clear(queue)
		if len(queue) > 0 {
			m.group.kick() // there is room again
		}
		if len(notes) > 0 && !m.send(notes) {
			return
		}
		if closing {
			m.nc.Close()
			return
		}
	}
}

// send writes pieces, or ends the connection.
func (m *member) send(pieces ...[]byte) bool {
	m.nc.SetWriteDeadline(time.Now().Add(writeTimeout))
	buffers := net.Buffers(pieces)
	if _, err := buffers.WriteTo(m.nc); err != nil {
		m.nc.Close()
		return false
	}
	return true
}

// accepted tells a worker that its answer is durable.
func (m *member) accepted(n uint64, lines lineRange) {
	m.note(&protocol.Frame{Kind: protocol.KindAccepted, N: n, From: lines.from, To: lines.to})
}

// farewell tells a worker that is let go why, as the last thing it hears.
func (m *member) farewell(err error) {
	m.group.mu.Lock()
	defer m.group.mu.Unlock()
	m.notes = protocol.AppendFrame(m.notes, &protocol.Frame{Kind: protocol.KindFault, Reason: short(err.Error())})
	m.closing = true
	m.signal()
}
