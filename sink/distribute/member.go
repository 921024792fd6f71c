package distribute

import (
	"net"
	"slices"
	"time"

	"fanin/sink/distribute/protocol"
)

// member is a connected worker of a group.
type member struct {
	group *group
	nc    net.Conn
	hello protocol.Hello
	id    uint64
	since time.Time
	lease time.Duration

	// The group's lock guards all below.
	out       outbox
	credit    int
	active    bool        // lines may be handed to it
	suspended bool        // it let a lease end, and has sent nothing since
	last      uint64      // number of the last delivery
	flight    []*delivery // by number; answered ones are dropped from the front
	inFlight  int         // lines without an answer
	behind    spans       // with a key: lines that go to this worker alone
	building  *delivery   // during a pass of the dispatcher
	passed    float64     // lines handed to it, divided by its weight

	pausedUntil time.Time // with a key: one of its lines failed and has to wait
	handed      uint64    // lines, in all
	acked       uint64    // of these
}

// outbox is what the member's writing goroutine has to write. The group's lock guards it.
type outbox struct {
	wake    chan struct{} // there is something to write
	queue   []*delivery
	frames  []byte // other frames
	closing bool   // close the connection after writing
	gone    bool   // write nothing more
}

const (
	maxQueue     = 2       // deliveries that wait for a worker to read them
	maxFrames    = 1 << 20 // bytes of other frames that wait for it
	writeTimeout = 30 * time.Second
)

// leastLease is the shortest lease that a worker is granted.
const leastLease = 100 * time.Millisecond

func newMember(g *group, nc net.Conn, h *protocol.Hello, id uint64) *member {
	return &member{group: g, nc: nc, hello: *h, id: id, since: time.Now(), credit: h.Credit,
		lease: max(min(h.Lease, g.d.now().Lease), leastLease), out: outbox{wake: make(chan struct{}, 1)}}
}

// roomLocked returns how many lines may be handed to it now.
func (m *member) roomLocked() int {
	paused := !m.pausedUntil.IsZero() && time.Now().Before(m.pausedUntil)
	if !m.active || m.suspended || paused || m.out.gone || m.out.closing || len(m.out.queue) >= maxQueue {
		return 0
	}
	if m.group.terms.key == keyLog && m.inFlight > 0 {
		return 0
	}
	return m.credit - m.inFlight
}

// findLocked returns a delivery that has lines without an answer, or nil.
func (m *member) findLocked(n uint64) *delivery {
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

// touchFollowingLocked starts the leases again of the deliveries behind one: they wait for
// it, however long it takes.
func (m *member) touchFollowingLocked(d *delivery) {
	for _, later := range m.flight {
		if later.n > d.n {
			later.deadline = d.deadline
		}
	}
}

// dropAnsweredLocked forgets deliveries without open lines, from the front.
func (m *member) dropAnsweredLocked() {
	i := 0
	for i < len(m.flight) && m.flight[i].left == 0 {
		m.flight[i] = nil
		i++
	}
	m.flight = m.flight[i:]
}

// sendLocked queues a frame. A worker that does not read is disconnected.
func (m *member) sendLocked(f *protocol.Frame) {
	o := &m.out
	if o.gone {
		return
	}
	o.frames = protocol.AppendFrame(o.frames, f)
	if len(o.frames) > maxFrames {
		o.gone = true
		m.nc.Close()
	}
	o.signal()
}

// sendLostLocked tells the worker that lines of a delivery are no longer its own.
func (m *member) sendLostLocked(d *delivery, lines lineRange, why string) {
	m.sendLocked(&protocol.Frame{Kind: protocol.KindLost, N: d.n, From: lines.from, To: lines.to, Reason: why})
}

func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// read applies the worker's frames until the connection ends, and returns why it did.
func (m *member) read(r *protocol.Reader) error {
	for {
		f, err := r.Frame()
		if err != nil {
			return err
		}
		if err := m.group.answer(m, &f); err != nil {
			return err
		}
	}
}

// write writes what is queued for the worker until the connection ends.
func (m *member) write(done <-chan struct{}) {
	var queue []*delivery
	var frames, head []byte
	for {
		select {
		case <-m.out.wake:
		case <-done:
			return
		}
		var closing bool
		queue, frames, closing = m.takeOut(queue, frames)
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
		if len(frames) > 0 && !m.send(frames) {
			return
		}
		if closing {
			m.nc.Close()
			return
		}
	}
}

// takeOut takes what is in the outbox, and leaves the buffers of the last time there.
func (m *member) takeOut(usedQueue []*delivery, usedFrames []byte) (queue []*delivery, frames []byte, closing bool) {
	m.group.mu.Lock()
	defer m.group.mu.Unlock()
	queue, m.out.queue = m.out.queue, usedQueue[:0]
	frames, m.out.frames = m.out.frames, usedFrames[:0]
	for _, d := range queue {
		d.sent = true
	}
	return queue, frames, m.out.closing
}

// send writes pieces, or closes the connection.
func (m *member) send(pieces ...[]byte) bool {
	m.nc.SetWriteDeadline(time.Now().Add(writeTimeout))
	buffers := net.Buffers(pieces)
	if _, err := buffers.WriteTo(m.nc); err != nil {
		m.nc.Close()
		return false
	}
	return true
}

// farewell sends a worker that is disconnected the reason, as the last frame.
func (m *member) farewell(err error) {
	m.group.mu.Lock()
	defer m.group.mu.Unlock()
	o := &m.out
	o.frames = protocol.AppendFrame(o.frames, &protocol.Frame{Kind: protocol.KindFault, Reason: short(err.Error())})
	o.closing = true
	o.signal()
}
