package carry

import (
	"time"

	"fanin/sink/distribute/worker"
)

// Line is one line on its way to the target. Send sets its outcome.
type Line struct {
	worker.Line
	index   int // in the delivery
	outcome outcome
	reason  string // of a rejection
}

// outcome is what is known about a line after Send.
type outcome byte

const (
	notSent  outcome = iota // or refused for now: the target does not have it
	unknown                 // no answer: the target may have it
	carried                 // final
	rejected                // final
)

// Carried sets the outcome of a line that the target has confirmed.
func (l *Line) Carried() { l.outcome = carried }

// Reject sets the outcome of a line that the target will never accept. It is reported
// to the distributor as failed, and ends as a dead letter.
func (l *Line) Reject(reason string) { l.outcome, l.reason = rejected, reason }

// Unknown sets the outcome of a line that was sent, and not answered: the target may
// have it.
func (l *Line) Unknown() { l.outcome = unknown }

// batch is the lines of a delivery that have no final outcome.
type batch struct {
	delivery *worker.Delivery
	left     []Line
	since    time.Time // when they were received, or last counted as unsure
}

func newBatch(d *worker.Delivery) *batch {
	b := &batch{delivery: d, left: make([]Line, 0, d.Len()), since: time.Now()}
	for i, line := range d.Lines() {
		b.left = append(b.left, Line{Line: line, index: i})
	}
	return b
}

// settle answers the lines that have a final outcome, keeps the others, and returns
// how many were carried and rejected.
func (b *batch) settle() (carriedLines, rejectedLines int) {
	kept := b.left[:0]
	from, to := 0, 0 // carried lines next to each other in the delivery, not yet acknowledged
	for _, line := range b.left {
		switch line.outcome {
		case carried:
			carriedLines++
			if line.index != to {
				b.ack(from, to)
				from = line.index
			}
			to = line.index + 1
		case rejected:
			rejectedLines++
			b.delivery.Nack(line.index, line.index+1, line.reason)
		default:
			kept = append(kept, line)
		}
	}
	b.ack(from, to)
	clear(b.left[len(kept):])
	b.left = kept
	return carriedLines, rejectedLines
}

// ack acknowledges lines. An error means that the connection to the distributor is
// lost: the lines come again.
func (b *batch) ack(from, to int) {
	if from < to {
		b.delivery.Ack(from, to)
	}
}

// possibleDuplicates returns how many lines may be at the target twice once they are
// sent again: those sent after the window in which it recognizes repeats, and with no
// window those whose outcome is unknown. Each passing of the window counts once.
//
// Within a delivery that came again, another attempt may have sent a line before. So
// with a window all lines count, whether or not this attempt sent them.
func (b *batch) possibleDuplicates(window time.Duration) (n int) {
	if window > 0 {
		if time.Since(b.since) <= window {
			return 0
		}
		b.since = time.Now()
		return len(b.left)
	}
	for i := range b.left {
		if b.left[i].outcome == unknown {
			n++
		}
		b.left[i].outcome = notSent
	}
	return n
}
