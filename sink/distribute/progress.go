package distribute

import (
	"context"
	"fmt"
	"slices"
	"time"

	"fanin/sink"
)

// progress is how far a group has handed the log out, and what goes out again. The
// group's lock guards it.
type progress struct {
	next    sink.Position // of the first line that was never handed out
	waiting spans         // to be handed out again
	delayed []delayed     // to be added to waiting when they are due
	version uint64        // see group, invariant 3
	frozen  bool          // see group, invariant 7
	ahead   lookahead     // text from next on
}

// delayed is lines that a worker reported as failed.
type delayed struct {
	span
	due time.Time
}

// lookahead is text that was read and not yet handed out. It begins at next.
type lookahead struct {
	text []byte
	end  sink.Position // the reader's position after text
}

// move forgets what goes out again, and continues at another position.
func (p *progress) move(at sink.Position) {
	*p = progress{next: at, version: p.version + 1, frozen: p.frozen}
}

// takeWithin removes the waiting and delayed lines in a generation or before it, and
// returns how many they were.
func (p *progress) takeWithin(generation uint64) int {
	lines := p.waiting.within(generation).lines()
	p.delayed = slices.DeleteFunc(p.delayed, func(x delayed) bool {
		expired := x.generation <= generation
		if expired {
			lines += x.lines
		}
		return expired
	})
	p.version++
	return lines
}

// resumeDelayed lets the delayed lines that are due go out again.
func (g *group) resumeDelayed(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.delayed = slices.DeleteFunc(g.delayed, func(x delayed) bool {
		due := !now.Before(x.due)
		if due {
			g.waiting.add(x.span)
			g.version++
		}
		return due
	})
	g.kick()
}

// lowLocked returns the position before which every line is finished.
func (g *group) lowLocked() sink.Position {
	low := g.next
	if all := g.outstandingLocked(); len(all) > 0 && all[0].at().Compare(low) < 0 {
		low = all[0].at()
	}
	for _, l := range g.dead.pending {
		if l.at().Compare(low) < 0 {
			low = l.at()
		}
	}
	return low
}

// outstandingLocked returns the lines before next that go out again or are in flight.
func (g *group) outstandingLocked() (list spans) {
	all := slices.Clone(g.waiting)
	for _, x := range g.delayed {
		all = append(all, x.span)
	}
	for _, m := range g.members {
		all = append(all, m.behind...)
		for _, d := range m.flight {
			for _, open := range d.open() {
				all = append(all, d.spans(open, d.attempts)...)
			}
		}
	}
	slices.SortFunc(all, func(a, b span) int { return a.at().Compare(b.at()) })
	for _, s := range all {
		list.push(s)
	}
	return list
}

// expire abandons the lines of a generation that retention is about to remove, and
// counts them. It changes nothing before it has counted: after an error the lines are
// handed out as before. Lines in flight stay with their workers.
func (g *group) expire(ctx context.Context, gen sink.Generation, following sink.Position) error {
	from := g.freeze()
	for {
		lines, exact, err := g.countNext(ctx, from, gen, following)
		if err != nil {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.unfreezeLocked()
			return fmt.Errorf("count the lines that expire for group %s: %w", g.name, err)
		}
		moved, done := g.abandon(from, gen, following, lines, exact)
		if done {
			return nil
		}
		from = moved
	}
}

// freeze keeps the dispatcher from advancing next, and returns it.
func (g *group) freeze() sink.Position {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.frozen = true
	g.version++ // what is being read now is not handed out
	return g.next
}

func (g *group) unfreezeLocked() {
	g.frozen = false
	g.version++
	g.kick()
}

// countNext counts the lines of a generation, or before it, that were never handed out.
func (g *group) countNext(ctx context.Context, from sink.Position, gen sink.Generation, following sink.Position) (
	lines int, exact bool, err error) {
	if from.Compare(following) >= 0 {
		return 0, true, nil
	}
	n, exact, err := g.d.sink.Count(ctx, from, sink.Position{Generation: gen.Number, Offset: gen.Size})
	return int(n), exact, err
}

// abandon removes the lines up to following from the group, if next is still where they
// were counted from; else it returns where next is now.
func (g *group) abandon(from sink.Position, gen sink.Generation, following sink.Position, lines int, exact bool) (
	next sink.Position, done bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.next != from { // the group was moved in the meantime
		return g.next, false
	}
	lines += g.takeWithin(gen.Number)
	for _, m := range g.members {
		lines += m.behind.within(gen.Number).lines()
	}
	if from.Compare(following) < 0 {
		g.next, g.ahead = following, lookahead{}
	}
	g.unfreezeLocked()
	g.expiredLocked(lines, exact, from, following, "removed by retention before it was handed out")
	return following, true
}

// expiredLocked counts lines that the group never gets, and reports them in the log.
func (g *group) expiredLocked(lines int, exact bool, from, to sink.Position, why string) {
	if lines == 0 && exact {
		return
	}
	least := ""
	if !exact {
		least = " at_least=true"
	}
	g.counts.Expired += uint64(lines)
	g.changedLocked()
	g.d.sink.Notice("EXPIRED group=%s lines=%d%s from=%s to=%s reason=%q", g.name, lines, least, from, to, why)
}
