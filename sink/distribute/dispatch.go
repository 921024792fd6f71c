package distribute

import (
	"context"
	"errors"
	"time"

	"fanin/internal/retry"
	"fanin/sink"
)

const (
	maxInFlight = 4 << 20          // lines without an answer, of all groups
	gatherTime  = time.Millisecond // after the log has grown, so that a few small commits make one delivery
	leaseTick   = 100 * time.Millisecond
)

// verdict is the result of a pass.
type verdict int

const (
	again    verdict = iota // there may be more to do at once
	handed                  // as again, and new lines were assigned
	starving                // a member has room, and there are no lines
	idle                    // no member has room
)

// run hands lines out until ctx ends. It is the group's one dispatcher.
func (g *group) run(ctx context.Context) {
	defer g.reader.close()
	tick := time.NewTicker(leaseTick)
	defer tick.Stop()
	for ctx.Err() == nil {
		grown := g.d.sink.Grown() // before the look
		begun := time.Now()
		found := g.pass(ctx)
		if found == again {
			continue
		}
		if found == handed {
			g.d.governor.Yield(ctx, time.Since(begun)*time.Duration(g.d.served.Load()))
			continue
		}
		if found == idle {
			grown = nil
		}
		select {
		case <-g.wake:
		case <-grown:
			retry.Pause(ctx, gatherTime)
		case now := <-tick.C:
			g.endLeases(now)
			g.resumeDelayed(now)
		case <-ctx.Done():
		}
	}
}

// pass hands out one piece of the log: first what goes out again, in the order of the
// log. It reads without the lock, and starts over if something changed in the meantime.
func (g *group) pass(ctx context.Context) verdict {
	p, found := g.plan()
	if p == nil {
		return found
	}
	return g.handOut(p, g.reader.read(ctx, g.d.sink, p))
}

// piece is what a pass is about to hand out. The zero span means the log from next on.
type piece struct {
	version uint64 // of the group when this was planned
	list    *spans // the span is the first of these
	span    span
	only    *member       // that gets it; nil: any
	next    sink.Position // where to read without a span
	ahead   bool          // there is text from next on: nothing is to be read
}

// plan chooses the next piece. Without one, the verdict says why.
func (g *group) plan() (*piece, verdict) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.members) == 0 {
		g.reader.close()
		return nil, idle
	}
	if !g.anyRoomLocked() {
		return nil, idle
	}
	p := &piece{version: g.version, next: g.next, ahead: len(g.ahead.text) > 0}
	if m := g.withBehindLocked(); m != nil {
		p.list, p.only = &m.behind, m
	} else if len(g.waiting) > 0 {
		p.list = &g.waiting
	} else if g.frozen || g.closedLocked() {
		return nil, idle
	}
	if p.list != nil {
		p.span = (*p.list)[0]
	}
	return p, again
}

// anyRoomLocked reports whether a member can have lines now.
func (g *group) anyRoomLocked() bool {
	if len(g.joining) > 0 || g.removed || g.d.draining() || g.d.counts.inFlight.Load() >= maxInFlight {
		return false
	}
	for _, m := range g.members {
		if m.roomLocked() > 0 {
			return true
		}
	}
	return false
}

// withBehindLocked returns a member that can have the lines that wait behind it, or nil.
func (g *group) withBehindLocked() *member {
	for _, m := range g.members {
		if len(m.behind) > 0 && m.roomLocked() > 0 {
			return m
		}
	}
	return nil
}

// handOut assigns what was read of a piece, unless the group has changed since.
func (g *group) handOut(p *piece, r reading) verdict {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.version != g.version {
		return again
	}
	if p.list != nil {
		return g.handSpanLocked(p, r)
	}
	return g.handNextLocked(p, r)
}

// handSpanLocked hands out the first span of a list.
func (g *group) handSpanLocked(p *piece, r reading) verdict {
	s := p.span
	var gone *sink.GoneError
	switch {
	case errors.As(r.err, &gone):
		*p.list = (*p.list)[1:]
		g.expiredLocked(s.lines, true, gone.From, gone.To, "it had to be handed out again and is no longer there")
		return again
	case r.err != nil:
		return g.cannotReadLocked(r.err)
	}
	size := int64(len(r.text))
	used, lines := g.assignLocked(r.text, s.at(), s.end(), s.attempts, p.only)
	if used == 0 {
		return idle
	}
	to := min(s.from+used, s.to)
	if used == size && s.from+size >= s.to {
		to, lines = s.to, s.lines
	}
	p.list.shorten(to, lines)
	return again
}

// handNextLocked hands out what was never handed out before.
func (g *group) handNextLocked(p *piece, r reading) verdict {
	var gone *sink.GoneError
	if r.err == nil && !p.ahead {
		r = g.withinLocked(r)
	}
	switch {
	case p.ahead:
	case errors.As(r.err, &gone):
		g.next = gone.To
		g.expiredLocked(r.gone, false, gone.From, gone.To, "another program deleted or moved the file")
		return again
	case r.err != nil:
		return g.cannotReadLocked(r.err)
	case r.text == nil:
		if g.next != r.end { // from the end of a file that was rotated, into an empty one
			g.next = r.end
			g.changedLocked()
		}
		return starving
	default:
		g.next, g.ahead = r.at, lookahead{r.text, r.end}
	}
	used, _ := g.assignLocked(g.ahead.text, g.next, g.ahead.end, 0, nil)
	if used == 0 {
		return idle
	}
	g.ahead.text = g.ahead.text[used:]
	g.next.Offset += used
	if len(g.ahead.text) == 0 {
		g.next, g.ahead = g.ahead.end, lookahead{}
	}
	g.changedLocked()
	return handed
}

// cannotReadLocked handles an error of the reader.
func (g *group) cannotReadLocked(err error) verdict {
	switch {
	case errors.Is(err, errAway):
		return idle // the next tick comes soon
	case errors.Is(err, sink.ErrNoPosition): // the log is an older state of itself: it ends before next
		at := g.d.after(g.next)
		g.d.sink.Notice("MOVED group=%s from=%s to=%s reason=%q", g.name, g.next, at, err)
		g.next, g.waiting = at, nil
		g.version++
		g.changedLocked()
		return again
	}
	g.d.warnings.Warn("read", "cannot read the log for a group; trying again", "group", g.name, "err", err)
	return idle
}
