package distribute

import (
	"bytes"
	"context"
	"errors"
	"hash/maphash"
	"time"

	"fanin/sink"
)

// What a delivery may weigh, and how much is read at a time.
const (
	readSize    = 256 << 10
	maxDelivery = 128 << 10 // but for one line that is longer
	leastShare  = 4 << 10
	allQueues   = 32 << 20 // text that waits for all workers to read it
	maxLines    = 4096     // of a first attempt
	maxBehind   = 32 << 10 // spans that wait for one worker of a group with keys
	maxInFlight = 4 << 20  // lines without an answer, of all groups
	gatherTime  = time.Millisecond
	leaseTick   = 100 * time.Millisecond
)

// attemptLines is how many lines a delivery may have that failed so often
// before: fewer each time, so that in the end the one bad line is alone.
func attemptLines(attempts int) int { return max(maxLines>>(4*attempts), 1) }

// verdict is what a pass found.
type verdict int

const (
	again    verdict = iota // there may be more to do at once
	handed                  // so too; and new lines were handed out
	starving                // somebody could have lines, and there are none
	idle                    // nobody can have lines
)

// run hands lines out until ctx ends. It is the group's one dispatcher.
func (g *group) run(ctx context.Context) {
	defer g.close()
	tick := time.NewTicker(leaseTick)
	defer tick.Stop()
	for ctx.Err() == nil {
		grown := g.d.Sink.Grown() // before the look
		begun := time.Now()
		found := g.pass(ctx)
		if found == again {
			continue
		}
		if found == handed {
			g.d.governor.yield(ctx, time.Since(begun), int(g.d.reading.Load()))
			continue
		}
		if found == idle {
			grown = nil
		}
		select {
		case <-g.wake:
		case <-grown:
			pause(ctx, gatherTime) // a few small commits make one delivery
		case now := <-tick.C:
			g.leases(now)
			g.revive(now)
		case <-ctx.Done():
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func (g *group) close() {
	for _, r := range []*sink.Reader{g.front, g.again} {
		if r != nil {
			r.Close()
		}
	}
}

// pass hands out one piece of the log: what has to go out again first, in the
// order of the log. It reads without the lock, and starts over if something was
// changed meanwhile.
func (g *group) pass(ctx context.Context) verdict {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.members) == 0 {
		g.close()
		g.front, g.again, g.buf, g.frontBuf = nil, nil, nil, nil
		return idle
	}
	if !g.anyRoom() {
		return idle
	}
	if m := g.withBehind(); m != nil {
		return g.handSpan(ctx, &m.behind, m)
	}
	if len(g.waiting) > 0 {
		return g.handSpan(ctx, &g.waiting, nil)
	}
	if g.frozen {
		return idle
	}
	return g.handNext(ctx)
}

// anyRoom reports whether somebody can have lines now.
func (g *group) anyRoom() bool {
	if len(g.joining) > 0 || g.removed || g.d.draining() || g.d.counts.inFlight.Load() >= maxInFlight {
		return false
	}
	for _, m := range g.members {
		if m.room() > 0 {
			return true
		}
	}
	return false
}

// withBehind is a member that can have what waited for it.
func (g *group) withBehind() *member {
	for _, m := range g.members {
		if len(m.behind) > 0 && m.room() > 0 {
			return m
		}
	}
	return nil
}

// handSpan hands out the first of list, to one member or to all.
func (g *group) handSpan(ctx context.Context, list *spans, only *member) verdict {
	s := (*list)[0]
	var text []byte
	var err error
	turn := g.turn
	g.mu.Unlock()
	text, err = g.readSpan(ctx, s)
	g.mu.Lock()
	if turn != g.turn || len(*list) == 0 || (*list)[0] != s {
		return again
	}
	if err != nil {
		return g.cannotRead(err, func(gone *sink.GoneError) {
			g.lost(s.lines, true, gone.From, gone.To, "it had to be handed out again and is no longer there")
			*list = (*list)[1:]
		})
	}
	size := int64(len(text))
	used, lines := g.assign(text, s.at(), s.end(), s.attempts, only)
	if used == 0 {
		return idle
	}
	to := min(s.from+used, s.to)
	if used == size && s.from+size >= s.to {
		to, lines = s.to, s.lines
	}
	(*list).took(to, lines)
	return again
}

// readSpan reads the text of s, or its beginning.
func (g *group) readSpan(ctx context.Context, s span) ([]byte, error) {
	if g.again == nil {
		g.again = g.d.Sink.Reader(s.at())
	}
	g.again.Seek(s.at())
	text, at, err := readAt(ctx, g.again, s, g.buffer())
	if err != nil {
		return nil, err
	}
	if over := g.again.At().Offset - s.to; over > 0 && at.Generation == s.generation {
		text = text[:max(int64(len(text))-over, 0)]
	}
	return text, nil
}

// readAt reads on within s, which is all in the log. What is not there any more is
// a *sink.GoneError; errAway says that the file is being moved aside just now.
func readAt(ctx context.Context, r *sink.Reader, s span, buf []byte) (text []byte, at sink.Position, err error) {
	at = r.At()
	text, from, err := r.Read(ctx, buf)
	switch {
	case errors.Is(err, sink.ErrNoPosition), err == nil && text != nil && from != at:
		err = &sink.GoneError{From: at, To: s.end()}
	case err == nil && text == nil:
		err = errAway
	}
	return text, from, err
}

var errAway = errors.New("the file is being moved aside")

// buffer is what the dispatcher reads spans into.
func (g *group) buffer() []byte {
	if g.buf == nil {
		g.buf = make([]byte, readSize)
	}
	return g.buf
}

// handNext hands out what was never handed out before.
func (g *group) handNext(ctx context.Context) verdict {
	if len(g.ahead) == 0 {
		if g.front == nil {
			g.front = g.d.Sink.Reader(g.next)
		}
		if g.front.At() != g.next {
			g.front.Seek(g.next)
		}
		if g.frontBuf == nil {
			g.frontBuf = make([]byte, readSize)
		}
		turn := g.turn
		g.mu.Unlock()
		text, at, err := g.front.Read(ctx, g.frontBuf)
		end := g.front.At()
		g.mu.Lock()
		if turn != g.turn {
			return again
		}
		if err != nil {
			return g.cannotRead(err, func(gone *sink.GoneError) {
				n, _, _ := g.d.Sink.Count(ctx, gone.From, gone.To)
				g.next = gone.To
				g.lost(int(n), false, gone.From, gone.To, "somebody deleted it, or moved it away")
			})
		}
		if text == nil {
			if g.next != end { // out of a file that was rotated, into an empty one
				g.next = end
				g.changed()
			}
			return starving
		}
		g.next, g.ahead, g.aheadEnd = at, text, end
	}
	used, _ := g.assign(g.ahead, g.next, g.aheadEnd, 0, nil)
	if used == 0 {
		return idle
	}
	g.ahead = g.ahead[used:]
	g.next.Offset += used
	if len(g.ahead) == 0 {
		g.next, g.ahead = g.aheadEnd, nil
	}
	g.changed()
	return handed
}

// cannotRead says what to do about an error of the reader.
func (g *group) cannotRead(err error, onGone func(*sink.GoneError)) verdict {
	var gone *sink.GoneError
	switch {
	case errors.As(err, &gone):
		onGone(gone)
		return again
	case errors.Is(err, errAway):
		return idle // the next tick comes soon
	case errors.Is(err, sink.ErrNoPosition):
		// The log was set back: it ends before what was handed out of it.
		at := g.d.afterAll(g.next)
		g.d.Sink.Notice("MOVED group=%s from=%s to=%s reason=%q", g.name, g.next, at, err)
		g.next, g.waiting = at, nil
		g.turn++
		g.changed()
		return again
	}
	g.d.say(g.name, "cannot read the log to hand it out; trying again", err)
	return idle
}

// assign gives lines of text, which stand from at to end, to members that have
// room, in deliveries that it queues. It returns how many bytes and lines it is
// done with; lines that the filter leaves out are done with at once.
func (g *group) assign(text []byte, at, end sink.Position, attempts int, only *member) (used int64, lines int) {
	share := g.share(text)
	most := attemptLines(attempts)
	var current *member
	for int(used) < len(text) {
		line := text[used:]
		n := bytes.IndexByte(line, '\n') + 1
		line = line[:n]
		to := min(at.Offset+int64(n), end.Offset)
		if g.match.Match(line) {
			m := only
			switch {
			case m != nil:
			case g.slots != nil:
				m = g.slots[g.slotOf(line)]
			default:
				if current == nil || !current.takes(n, share, most, attempts) {
					current = g.pick(share, most, n, attempts)
				}
				m = current
			}
			if m == nil {
				break
			}
			late := only == nil && len(m.behind) > 0 // earlier lines come first, room or not
			if !late && m.takes(n, maxLines, most, attempts) {
				m.build(attempts).add(line, at, to)
			} else if only != nil || len(m.behind) >= maxBehind {
				break
			} else {
				m.behind.add(span{at.Generation, at.Offset, to, 1, attempts})
			}
		}
		used += int64(n)
		lines++
		at.Offset = to
	}
	g.send()
	return used, lines
}

// share is how many lines of text each member with room may have for each unit
// of its weight, so that a few lines do not all go to one.
func (g *group) share(text []byte) int {
	weights := 0
	for _, m := range g.members {
		if m.room() > 0 {
			weights += m.hello.Weight
		}
	}
	weights = max(weights, 1)
	return (bytes.Count(text, []byte{'\n'}) + weights - 1) / weights
}

// takes reports whether a member can have one more line of n bytes in the
// delivery that is being built for it.
func (m *member) takes(n, share, most, attempts int) bool {
	if m.building == nil {
		return m.room() > 0
	}
	d := m.building
	return d.left < min(share*m.hello.Weight, most, m.room(), m.hello.Batch) && len(d.text)+n <= m.group.d.deliverySize() && d.attempts == attempts
}

// build is the delivery that is being built for a member.
func (m *member) build(attempts int) *delivery {
	if m.building == nil {
		m.building = &delivery{attempts: attempts, text: m.group.d.buffer()}
	}
	return m.building
}

// pick chooses who gets the next lines: of those with room, the one that had the
// fewest by its weight.
func (g *group) pick(share, most, n, attempts int) (best *member) {
	for _, m := range g.members {
		if m.room() > 0 && m.takes(n, share, most, attempts) && (best == nil || m.passed < best.passed) {
			best = m
		}
	}
	return best
}

// send queues what was built.
func (g *group) send() {
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
		m.queue = append(m.queue, d)
		m.inFlight += d.left
		m.handed += uint64(d.left)
		m.passed += float64(d.left) / float64(m.hello.Weight)
		g.inFlight += d.left
		g.d.counts.inFlight.Add(int64(d.left))
		if d.attempts > 0 {
			g.counts.Redelivered += uint64(d.left)
		}
		m.signal()
	}
}

// slotCount is into how many parts the keys fall.
const slotCount = 1024

// slotOf is the part that a line's key falls into.
func (g *group) slotOf(line []byte) int {
	f := g.d.Sink.Parts(line)
	var h maphash.Hash
	h.SetSeed(g.d.seed)
	if g.terms.key != "source" {
		h.Write(f.Host)
	}
	h.WriteByte(0)
	if g.terms.key != "host" {
		h.Write(f.Source)
	}
	return int(h.Sum64() % slotCount)
}

// deal gives each slot to a member, by weight, so that whoever comes or goes
// moves no more slots than his own. g.mu is held.
func (g *group) deal() {
	g.slots = make([]*member, slotCount)
	for i := range g.slots {
		best := 0.0
		for _, m := range g.members {
			if !m.active {
				continue
			}
			if score := g.d.score(m, i); g.slots[i] == nil || score > best {
				g.slots[i], best = m, score
			}
		}
	}
}
