package distribute

import (
	"bytes"
	"sync"
	"time"

	"fanin/sink"
)

// The bounds of a delivery, and of what waits for workers.
const (
	maxDelivery = 128 << 10 // bytes, except for one line that is longer
	leastShare  = 4 << 10   // bytes of a delivery, however many workers there are
	allQueues   = 32 << 20  // bytes that wait for all workers to read them
	maxLines    = 4096      // of a first attempt
	maxBehind   = 32 << 10  // spans that wait behind one member
)

// attemptLines returns how many lines a delivery may have that failed so often before:
// fewer each time, so that in the end the one bad line is alone.
func attemptLines(attempts int) int { return max(maxLines>>(4*attempts), 1) }

// assignLocked assigns lines of text, which is at to end in the log, to members with
// room, in deliveries that it queues. It returns how many bytes and lines are finished
// with; lines that the filter leaves out are so at once.
func (g *group) assignLocked(text []byte, at, end sink.Position, attempts int, only *member) (used int64, lines int) {
	bound := buildBound{share: g.shareLocked(text), lines: attemptLines(attempts), attempts: attempts}
	var current *member
	for int(used) < len(text) {
		line := text[used:]
		n := bytes.IndexByte(line, '\n') + 1
		line = line[:n]
		to := min(at.Offset+int64(n), end.Offset)
		if g.terms.match.Match(line) {
			m := only
			switch {
			case m != nil:
			case g.slots != nil:
				m = g.slots[g.slotOfLocked(line)]
			default:
				if current == nil || !current.takesLocked(n, bound) {
					current = g.pickLocked(n, bound)
				}
				m = current
			}
			if m == nil || !g.placeLocked(m, line, at, to, bound, only != nil) {
				break
			}
		}
		used += int64(n)
		lines++
		at.Offset = to
	}
	g.queueBuiltLocked()
	return used, lines
}

// placeLocked adds a line to the delivery that is being built for a member, or behind
// the member if it has no room or earlier lines wait there. False: neither is possible.
func (g *group) placeLocked(m *member, line []byte, at sink.Position, to int64, bound buildBound,
	fromBehind bool) bool {
	bound.share = maxLines
	inOrder := fromBehind || len(m.behind) == 0
	if inOrder && m.takesLocked(len(line), bound) {
		m.buildLocked(bound.attempts).add(line, at, to)
		return true
	}
	if fromBehind || len(m.behind) >= maxBehind || m.group.terms.key == keyLog {
		return false
	}
	m.behind.add(span{at.Generation, at.Offset, to, 1, bound.attempts})
	return true
}

// buildBound is what a delivery that is being built may have.
type buildBound struct {
	share    int // lines for each unit of its member's weight
	lines    int
	attempts int // of all its lines, before this one
}

// shareLocked returns how many lines of text each member with room may have for each
// unit of its weight, so that a few lines do not all go to one.
func (g *group) shareLocked(text []byte) int {
	weights := 0
	for _, m := range g.members {
		if m.roomLocked() > 0 {
			weights += m.hello.Weight
		}
	}
	weights = max(weights, 1)
	return (bytes.Count(text, []byte{'\n'}) + weights - 1) / weights
}

// takesLocked reports whether a member can have one more line of n bytes in the delivery
// that is being built for it.
func (m *member) takesLocked(n int, bound buildBound) bool {
	d := m.building
	if d == nil {
		return m.roomLocked() > 0
	}
	most := min(bound.share*m.hello.Weight, bound.lines, m.roomLocked(), m.hello.Batch)
	return d.left < most && len(d.text)+n <= m.group.d.deliverySize() && d.attempts == bound.attempts
}

// buildLocked returns the delivery that is being built for a member.
func (m *member) buildLocked(attempts int) *delivery {
	if m.building == nil {
		m.building = &delivery{attempts: attempts, text: m.group.d.buffer()}
	}
	return m.building
}

// pickLocked chooses the member that gets the next lines: of those with room, the one
// that has had the fewest by its weight.
func (g *group) pickLocked(n int, bound buildBound) (best *member) {
	for _, m := range g.members {
		if m.roomLocked() > 0 && m.takesLocked(n, bound) && (best == nil || m.passed < best.passed) {
			best = m
		}
	}
	return best
}

// queueBuiltLocked queues the deliveries that were built.
func (g *group) queueBuiltLocked() {
	now := time.Now()
	for _, m := range g.members {
		d := m.building
		if d == nil {
			continue
		}
		m.building = nil
		m.last++
		d.n, d.deadline = m.last, now.Add(m.lease)
		m.flight = append(m.flight, d)
		m.out.queue = append(m.out.queue, d)
		m.inFlight += d.left
		m.handed += uint64(d.left)
		m.passed += float64(d.left) / float64(m.hello.Weight)
		g.inFlight += d.left
		g.d.counts.inFlight.Add(int64(d.left))
		if d.attempts > 0 {
			g.counts.Redelivered += uint64(d.left)
		}
		m.out.signal()
	}
}

// deliverySize returns how many bytes a delivery may have, so that all that wait for
// workers to read them stay within bounds.
func (d *Distributor) deliverySize() int {
	return int(min(max(allQueues/maxQueue/max(d.counts.workers.Load(), 1), leastShare), maxDelivery))
}

// buffers are the texts of deliveries that were written.
type buffers struct{ pool sync.Pool }

// buffer returns an empty text for a delivery.
func (d *Distributor) buffer() []byte {
	if b, ok := d.buffers.pool.Get().(*[]byte); ok && cap(*b) <= 2*d.deliverySize() {
		return (*b)[:0]
	}
	return make([]byte, 0, leastShare)
}

// recycle keeps a text for the next delivery.
func (d *Distributor) recycle(b []byte) {
	if b != nil {
		d.buffers.pool.Put(&b)
	}
}
