package distribute

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"fanin/sink"
	"fanin/sink/distribute/protocol"
	"fanin/sink/line"
)

// group shares the log among its workers: each line goes to one of them. What is
// below next was handed out and is done with, but for what waits and what is in
// flight; nothing else is remembered of it.
type group struct {
	d     *Distributor
	name  string
	maker netip.Prefix  // whose worker made it; the zero Prefix: made before the start
	wake  chan struct{} // something changed that may let lines be handed out
	stop  context.CancelFunc

	front, again  *sink.Reader // the dispatcher's alone
	buf, frontBuf []byte

	mu      sync.Mutex
	next    sink.Position // of the first line that was never handed out
	waiting spans         // to be handed out again
	delayed []delayed     // to be put to those, in a while
	turn    uint64        // counts changes of next and waiting that others than the dispatcher make
	frozen  bool          // next is being moved by another
	removed bool

	members  []*member // all that are connected
	joining  []*member // with keys: until nothing is in flight
	terms    terms
	match    *line.Matcher
	slots    []*member // with keys: whose lines these are
	inFlight int

	ahead    []byte // text that was read, from next on, and not yet handed out
	aheadEnd sink.Position

	dirty   bool // differs from what is saved
	unsaved []acceptance
	letters []*letter // to be written to the dead letters
	deadEnd int64     // bytes of the dead letters' file that are known to be whole
	counts  groupCounts
}

// groupCounts are totals over the whole life of the group.
type groupCounts struct {
	Accepted, Redelivered, Dead, Expired uint64 // lines
}

// delayed is lines that a worker could not do: the next attempt waits, because
// what they need may be out of order for a while.
type delayed struct {
	span
	due time.Time
}

// maxRetry bounds the delay, which doubles with each attempt.
const maxRetry = time.Minute

// acceptance is an answer that a worker is told of once it is durable.
type acceptance struct {
	m     *member
	n     uint64
	lines lineRange
}

// terms are what the members of a group must agree in.
type terms struct {
	key    string
	filter line.Filter
}

func termsOf(h *protocol.Hello) terms {
	return terms{h.Key, line.Filter{Host: h.Host, Source: h.Source, Include: h.Include, Exclude: h.Exclude}}
}

func (t terms) equal(u terms) bool {
	return t.key == u.key && slices.Equal(t.filter.Host, u.filter.Host) && slices.Equal(t.filter.Source, u.filter.Source) &&
		slices.Equal(t.filter.Include, u.filter.Include) && slices.Equal(t.filter.Exclude, u.filter.Exclude)
}

func newGroup(d *Distributor, name string, next sink.Position) *group {
	return &group{d: d, name: name, wake: make(chan struct{}, 1), next: next, dirty: true}
}

func (g *group) kick() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// changed says that the group is to be saved. g.mu is held.
func (g *group) changed() {
	g.dirty = true
	g.d.saveSoon()
}

// join takes a worker in.
func (g *group) join(m *member) error {
	t := termsOf(&m.hello)
	match, err := g.d.Sink.Matcher(t.filter)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.removed:
		return fmt.Errorf("group %s was removed just now; come again", g.name)
	case len(g.members) == 0:
		g.terms, g.match, g.slots = t, match, nil
	case !g.terms.equal(t):
		return fmt.Errorf("group %s has %d workers now, with %s; yours has %s. All workers of a group must have the same key and filter",
			g.name, len(g.members), g.terms, t)
	}
	if g.members = append(g.members, m); len(g.members) == 1 {
		g.d.reading.Add(1)
	}
	g.d.counts.workers.Add(1)
	g.admit(m)
	return nil
}

func (t terms) String() string {
	return fmt.Sprintf("key=%q host=%q source=%q include=%q exclude=%q", t.key, t.filter.Host, t.filter.Source, t.filter.Include, t.filter.Exclude)
}

// admit lets a member have lines: at once, or with keys, when nothing is in
// flight, so that no key has lines at two workers. g.mu is held.
func (g *group) admit(m *member) {
	m.suspended = false
	if g.terms.key != "" {
		g.joining = append(g.joining, m)
		g.settleJoins()
	} else {
		m.active = true
		m.passed = g.leastPassed()
	}
	g.kick()
}

func (g *group) leastPassed() float64 {
	least, found := 0.0, false
	for _, m := range g.members {
		if m.active && (!found || m.passed < least) {
			least, found = m.passed, true
		}
	}
	return least
}

// settleJoins deals the keys anew once nothing is in flight. g.mu is held.
func (g *group) settleJoins() {
	if len(g.joining) == 0 || g.inFlight > 0 {
		return
	}
	for _, m := range g.members {
		g.takeBehind(m)
	}
	for _, m := range g.joining {
		m.active = true
	}
	g.joining = nil
	g.deal()
	g.kick()
}

// takeBehind puts what waited for one member back for all. g.mu is held.
func (g *group) takeBehind(m *member) {
	for _, s := range m.behind {
		g.waiting.add(s)
	}
	m.behind = nil
	g.turn++
}

// leave forgets a member; what it had goes to others. The oldest delivery that
// it was sent may be what ended it: with blame, that counts as an attempt.
func (g *group) leave(m *member, blame bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m.gone = true
	g.d.counts.workers.Add(-1)
	blame = blame && !g.removed && !g.d.draining()
	for _, d := range slices.Clone(m.flight) {
		first := blame && d.sent && d.left > 0
		blame = blame && !first
		g.takeBack(m, d, first, "the worker's connection ended before it answered")
	}
	m.queue = nil
	g.part(m)
	g.members = slices.DeleteFunc(g.members, func(x *member) bool { return x == m })
	g.joining = slices.DeleteFunc(g.joining, func(x *member) bool { return x == m })
	g.settleJoins()
	if len(g.members) == 0 {
		g.ahead = nil // nobody needs it soon
		g.d.reading.Add(-1)
	}
	g.changed()
	g.kick()
}

// part takes a member's keys away. g.mu is held.
func (g *group) part(m *member) {
	m.active = false
	g.takeBehind(m)
	if g.terms.key != "" {
		g.deal()
	}
}

// takeBack takes the unanswered lines of a delivery from a member. g.mu is held.
func (g *group) takeBack(m *member, d *delivery, blame bool, why string) {
	for _, lines := range d.open() {
		g.retake(m, d, lines, blame, false, why)
	}
	if i := slices.Index(m.queue, d); i >= 0 {
		m.queue = slices.Delete(m.queue, i, i+1)
		g.d.recycle(d.text)
		d.text = nil
	}
}

// retake takes lines from a member: back to those who wait, or if that was the
// last attempt, to the dead letters. g.mu is held.
func (g *group) retake(m *member, d *delivery, lines lineRange, blame, delay bool, why string) {
	for _, fresh := range d.answer(lines.from, lines.to) {
		n := fresh.to - fresh.from
		g.less(m, n)
		attempts := d.attempts
		if blame {
			attempts++
		}
		for _, s := range d.spans(fresh, attempts) {
			if attempts >= g.d.Attempts {
				g.letters = append(g.letters, &letter{span: s, Reason: why, Worker: m.hello.Name, Time: time.Now().UTC()})
				continue
			}
			due := time.Now().Add(min(g.d.Retry<<min(d.attempts, 16), maxRetry))
			switch {
			case g.terms.key != "" && m.active && !m.suspended:
				m.behind.add(s)
				if delay {
					m.pausedUntil = due // all of it: what follows may have the same key
				}
			case delay:
				g.delayed = append(g.delayed, delayed{s, due})
			default:
				g.waiting.add(s)
			}
			g.turn++
		}
	}
	m.settle()
	g.changed()
}

// heard takes a worker's frame. An error ends its connection.
func (g *group) heard(m *member, f *protocol.Frame) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f.Kind == protocol.KindCredit {
		if f.Credit < 0 || f.Credit > int64(g.d.MaxCredit) {
			return breach("credit of %d lines; want 0 to %d", f.Credit, g.d.MaxCredit)
		}
		m.credit = int(f.Credit)
	} else if err := g.answered(m, f); err != nil {
		return err
	}
	if m.suspended {
		g.admit(m)
	}
	g.settleJoins()
	g.kick()
	return nil
}

func (g *group) answered(m *member, f *protocol.Frame) error {
	switch f.Kind {
	case protocol.KindAck, protocol.KindNack, protocol.KindRelease, protocol.KindTouch:
	default:
		return breach("a worker does not say %q", f.Kind)
	}
	if f.N == 0 || f.N > m.last {
		return breach("%s of delivery %d, which was never given; the last one is %d", f.Kind, f.N, m.last)
	}
	d := m.find(f.N)
	if d == nil {
		g.d.counts.late.Add(1)
		m.note(&protocol.Frame{Kind: protocol.KindLost, N: f.N, From: f.From, To: max(f.To, f.From+1), Reason: "these lines were answered already, or taken away when their lease ended"})
		return nil
	}
	lines := lineRange{f.From, f.To}
	if f.To < 0 {
		lines = lineRange{0, len(d.ends)}
	}
	if lines.to > len(d.ends) {
		return breach("%s of lines %d to %d of delivery %d, which has %d", f.Kind, lines.from, lines.to, f.N, len(d.ends))
	}
	d.deadline = time.Now().Add(m.lease)
	switch f.Kind {
	case protocol.KindAck:
		g.ack(m, d, lines)
	case protocol.KindNack:
		g.nack(m, d, lines, f.Reason)
		g.confirm(m, d, lines)
	case protocol.KindRelease:
		g.retake(m, d, lines, false, false, "")
		g.goBack(m, d, lines)
		g.confirm(m, d, lines)
	}
	return nil
}

// confirm tells a worker that what it gave back is no longer its own. With keys it
// begins nothing before it hears that: of what is with it already, goBack may have
// taken lines that are another worker's by then, and has said so before.
func (g *group) confirm(m *member, d *delivery, lines lineRange) {
	if g.terms.key != "" {
		m.note(&protocol.Frame{Kind: protocol.KindLost, N: d.n, From: lines.from, To: lines.to, Reason: "given back"})
	}
}

// less says that n lines more have their answer. g.mu is held.
func (g *group) less(m *member, n int) {
	m.inFlight -= n
	g.inFlight -= n
	g.d.counts.inFlight.Add(int64(-n))
}

func (g *group) ack(m *member, d *delivery, lines lineRange) {
	for _, fresh := range d.answer(lines.from, lines.to) {
		n := fresh.to - fresh.from
		g.less(m, n)
		m.acked += uint64(n)
		g.counts.Accepted += uint64(n)
		g.unsaved = append(g.unsaved, acceptance{m, d.n, fresh})
	}
	m.settle()
	g.changed()
}

func (g *group) nack(m *member, d *delivery, lines lineRange, why string) {
	g.d.counts.nacks.Add(uint64(lines.to - lines.from))
	g.retake(m, d, lines, true, true, why)
	if d.attempts+1 < g.d.Attempts {
		g.goBack(m, d, lines)
	}
}

// goBack keeps the order of keys: with a line that has to come again, all that
// follow it come again behind it. Without keys there is no order to keep.
func (g *group) goBack(m *member, d *delivery, lines lineRange) {
	if g.terms.key == "" {
		return
	}
	const why = "an earlier line has to come again first"
	for _, later := range slices.Clone(m.flight) {
		if later.n < d.n {
			continue
		}
		for _, open := range later.open() {
			if later == d && open.to <= lines.from {
				continue
			}
			g.retake(m, later, open, false, false, why)
			m.note(&protocol.Frame{Kind: protocol.KindLost, N: later.n, From: open.from, To: open.to, Reason: why})
		}
		if i := slices.Index(m.queue, later); i >= 0 && later.left == 0 {
			m.queue = slices.Delete(m.queue, i, i+1)
			g.d.recycle(later.text)
			later.text = nil
		}
	}
}

// revive puts delayed lines that are due to those that wait.
func (g *group) revive(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	kept := g.delayed[:0]
	for _, x := range g.delayed {
		if now.Before(x.due) {
			kept = append(kept, x)
			continue
		}
		g.waiting.add(x.span)
		g.turn++
	}
	g.delayed = kept
	g.kick()
}

// leases takes back what was not answered in time. A worker that let a lease end
// gets nothing more until it says something.
func (g *group) leases(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range g.members {
		late := slices.ContainsFunc(m.flight, func(d *delivery) bool { return d.left > 0 && now.After(d.deadline) })
		if !late {
			continue
		}
		g.d.counts.leases.Add(1)
		m.suspended = true
		for _, d := range slices.Clone(m.flight) {
			expired := d.left > 0 && now.After(d.deadline)
			if !expired && g.terms.key == "" {
				continue
			}
			if open := d.open(); len(open) > 0 && d.sent {
				m.note(&protocol.Frame{Kind: protocol.KindLost, N: d.n, From: open[0].from, To: open[len(open)-1].to, Reason: "the lease ended"})
			}
			g.takeBack(m, d, expired, fmt.Sprintf("no answer within %s", m.lease))
		}
		if g.terms.key != "" {
			g.part(m)
		}
		g.settleJoins()
		g.kick()
	}
}

// move puts the group at a position, whatever it had before: for replay.
func (g *group) move(at sink.Position) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range g.members {
		for _, d := range slices.Clone(m.flight) {
			if d.left > 0 && d.sent {
				m.note(&protocol.Frame{Kind: protocol.KindLost, N: d.n, From: 0, To: len(d.ends), Reason: "the group was moved to another position"})
			}
			g.takeBack(m, d, false, "")
		}
		m.behind = nil
	}
	g.waiting, g.delayed, g.ahead, g.next = nil, nil, nil, at
	g.turn++
	g.settleJoins()
	g.changed()
	g.kick()
}

// low is the position below which everything is done with. g.mu is held.
func (g *group) low() sink.Position {
	low := g.next
	if all := g.outstanding(); len(all) > 0 && all[0].at().Compare(low) < 0 {
		low = all[0].at()
	}
	for _, l := range g.letters {
		if l.at().Compare(low) < 0 {
			low = l.at()
		}
	}
	return low
}

// outstanding are the lines below next that are not done with. g.mu is held.
func (g *group) outstanding() (list spans) {
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

// expire gives up what lies in a generation that retention is about to remove,
// and says how much that is.
func (g *group) expire(ctx context.Context, gen sink.Generation, following sink.Position) error {
	g.mu.Lock()
	g.frozen = true
	for _, x := range g.delayed {
		g.waiting.add(x.span)
	}
	g.delayed = nil
	lines := g.waiting.within(gen.Number).lines()
	for _, m := range g.members {
		lines += m.behind.within(gen.Number).lines()
	}
	from := g.next
	g.turn++
	g.mu.Unlock()
	var err error
	exact := true
	if from.Compare(following) < 0 {
		var n uint64
		n, exact, err = g.d.Sink.Count(ctx, from, sink.Position{Generation: gen.Number, Offset: gen.Size})
		lines += int(n)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.frozen = false
	g.turn++
	g.kick()
	if err != nil {
		return fmt.Errorf("count what group %s will not get: %w", g.name, err)
	}
	if g.next.Compare(following) < 0 {
		g.next, g.ahead = following, nil
	}
	g.lost(lines, exact, from, following, "removed by retention before it was handed out")
	return nil
}

// lost counts lines that the group never gets, and says so. g.mu is held.
func (g *group) lost(lines int, exact bool, from, to sink.Position, why string) {
	if lines == 0 && exact {
		return
	}
	least := ""
	if !exact {
		least = " at_least=true"
	}
	g.counts.Expired += uint64(lines)
	g.changed()
	g.d.Sink.Notice("EXPIRED group=%s lines=%d%s from=%s to=%s reason=%q", g.name, lines, least, from, to, why)
}

// remove ends the group and lets its workers go.
func (g *group) remove() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.removed = true
	for _, m := range g.members {
		m.nc.Close()
	}
	g.stop()
}

// drain tells the workers that the collector goes down.
func (g *group) drain() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range g.members {
		m.note(&protocol.Frame{Kind: protocol.KindDrain})
	}
}

var errBreach = errors.New("breach of the protocol")

func breach(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errBreach, fmt.Sprintf(format, args...))
}
