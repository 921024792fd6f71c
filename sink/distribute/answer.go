package distribute

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"fanin/sink/distribute/protocol"
)

var errBreach = errors.New("violation of the protocol")

func breach(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errBreach, fmt.Sprintf(format, args...))
}

// answer applies a worker's frame. An error ends the worker's connection.
func (g *group) answer(m *member, f *protocol.Frame) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.applyLocked(m, f); err != nil {
		return err
	}
	if m.suspended {
		g.activateLocked(m)
	}
	g.dealJoiningLocked()
	g.kick()
	return nil
}

func (g *group) applyLocked(m *member, f *protocol.Frame) error {
	switch f.Kind {
	case protocol.KindCredit:
		if f.Credit < 0 || f.Credit > int64(g.d.now().MaxCredit) {
			return breach("credit of %d lines: want 0 to %d", f.Credit, g.d.now().MaxCredit)
		}
		m.credit = int(f.Credit)
		return nil
	case protocol.KindAck, protocol.KindNack, protocol.KindRelease, protocol.KindTouch:
	default:
		return breach("%q is not a frame of a worker", f.Kind)
	}
	if f.N == 0 || f.N > m.last {
		return breach("%s of delivery %d, which was never sent; the last one is %d", f.Kind, f.N, m.last)
	}
	d := m.findLocked(f.N)
	if d == nil {
		g.d.counts.late.Add(1)
		m.sendLocked(&protocol.Frame{Kind: protocol.KindLost, N: f.N, From: f.From, To: max(f.To, f.From+1),
			Reason: "these lines were answered already, or taken back when their lease ended"})
		return nil
	}
	lines := lineRange{f.From, f.To}
	if f.To < 0 {
		lines = lineRange{0, len(d.ends)}
	}
	if lines.to > len(d.ends) {
		return breach("%s of lines %d to %d of delivery %d, which has %d",
			f.Kind, lines.from, lines.to, f.N, len(d.ends))
	}
	d.deadline = time.Now().Add(m.lease)
	switch f.Kind {
	case protocol.KindTouch:
		m.touchFollowingLocked(d)
	case protocol.KindAck:
		g.ackLocked(m, d, lines)
	case protocol.KindNack:
		g.nackLocked(m, d, lines, f.Reason)
	case protocol.KindRelease:
		g.releaseLocked(m, d, lines)
	}
	return nil
}

func (g *group) ackLocked(m *member, d *delivery, lines lineRange) {
	for _, fresh := range d.answer(lines.from, lines.to) {
		n := fresh.to - fresh.from
		g.answeredLocked(m, n)
		m.acked += uint64(n)
		g.counts.Accepted += uint64(n)
		g.unsaved = append(g.unsaved, acceptance{m, d.n, fresh})
	}
	m.dropAnsweredLocked()
	g.changedLocked()
}

func (g *group) nackLocked(m *member, d *delivery, lines lineRange, why string) {
	g.d.counts.nacks.Add(uint64(lines.to - lines.from))
	g.retakeLocked(m, d, lines, retake{blame: true, delay: true, reason: why})
	if d.attempts+1 < g.d.now().Attempts {
		g.retakeFollowingLocked(m, d, lines)
	}
	g.confirmReturnLocked(m, d, lines)
}

func (g *group) releaseLocked(m *member, d *delivery, lines lineRange) {
	g.retakeLocked(m, d, lines, retake{})
	g.retakeFollowingLocked(m, d, lines)
	g.confirmReturnLocked(m, d, lines)
}

// confirmReturnLocked confirms to a worker that the lines which it returned are no longer
// its own. With a key, the worker starts nothing before it has this confirmation: of the
// lines that it has already, retakeFollowingLocked may have taken some, and has sent that
// before.
func (g *group) confirmReturnLocked(m *member, d *delivery, lines lineRange) {
	if g.terms.key != "" {
		m.sendLostLocked(d, lines, "returned")
	}
}

// retakeFollowingLocked keeps the order within keys: when a line goes out again, all
// lines that follow it at the same member go out again after it. Without a key there is
// no order to keep.
func (g *group) retakeFollowingLocked(m *member, d *delivery, lines lineRange) {
	if g.terms.key == "" {
		return
	}
	const why = "an earlier line has to be handed out again first"
	for _, later := range slices.Clone(m.flight) {
		if later.n < d.n {
			continue
		}
		for _, open := range later.open() {
			if later == d && open.to <= lines.from {
				continue
			}
			g.retakeLocked(m, later, open, retake{reason: why})
			m.sendLostLocked(later, open, why)
		}
		if later.left == 0 {
			g.unqueueLocked(m, later)
		}
	}
}

// confirmSaved tells workers that their answers are durable.
func (g *group) confirmSaved(list []acceptance) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := 0; i < len(list); {
		a := list[i]
		for i++; i < len(list) && list[i].m == a.m && list[i].n == a.n && list[i].lines.from == a.lines.to; i++ {
			a.lines.to = list[i].lines.to
		}
		a.m.sendLocked(&protocol.Frame{Kind: protocol.KindAccepted, N: a.n, From: a.lines.from, To: a.lines.to})
	}
}
