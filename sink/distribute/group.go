package distribute

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"fanin/sink"
	"fanin/sink/distribute/protocol"
	"fanin/sink/line"
)

// group shares the log among its workers: each line goes to one of them.
//
// While mu is free, this holds:
//
//  1. Each line before next is in exactly one place: in flight at one member, waiting,
//     delayed, behind one member, among the dead letters that are not yet written - or
//     it is finished: accepted, a dead letter, left out by the filter, or counted as
//     expired. Nothing else is remembered of finished lines.
//  2. No line from next on is in any of these places.
//  3. A change of next, waiting or a member's behind, except the dispatcher, also
//     changes version. The dispatcher reads the log without mu, and hands out what it
//     read only if version is still the same.
//  4. inFlight is the sum of the members' inFlight, and each of those is the sum of what
//     is left in its flight.
//  5. With a key, the lines of one key are in flight at one member at most, and behind
//     the same member. Keys move to a new member only when nothing is in flight, and from
//     a member only after its lines were taken back.
//  6. A worker is told "accepted" only after the cursors without those lines are durable:
//     until then the answer is in unsaved.
//  7. While frozen, the dispatcher does not advance next: retention is counting from it.
type group struct {
	d       *Distributor
	name    string
	creator netip.Prefix  // network of the worker that created it; the zero Prefix: older than the start
	wake    chan struct{} // something changed that may let lines be handed out
	stop    context.CancelFunc
	reader  logReader // the dispatcher's alone

	mu sync.Mutex // for all below
	progress
	members  []*member // all that are connected
	joining  []*member // with a key: until nothing is in flight
	slots    []*member // with a key: owners of the keys
	terms    terms
	inFlight int
	removed  bool
	window   *Window // that it may have of the log; nil: none, where there are windows

	dirty   bool // differs from what is saved
	unsaved []acceptance
	dead    deadLetters
	counts  groupCounts
}

// groupCounts are totals over the whole life of the group.
type groupCounts struct {
	Accepted, Redelivered, Dead, Expired uint64 // lines
}

// acceptance is an answer that is confirmed to a worker once it is durable.
type acceptance struct {
	m     *member
	n     uint64
	lines lineRange
}

// terms are what the members of a group must agree in.
type terms struct {
	key    string
	filter line.Filter
	match  *line.Matcher // of filter
}

func filterOf(h *protocol.Hello) line.Filter {
	return line.Filter{Host: h.Host, Source: h.Source, Include: h.Include, Exclude: h.Exclude}
}

func (t *terms) equal(u *terms) bool {
	a, b := &t.filter, &u.filter
	return t.key == u.key && slices.Equal(a.Host, b.Host) && slices.Equal(a.Source, b.Source) &&
		slices.Equal(a.Include, b.Include) && slices.Equal(a.Exclude, b.Exclude)
}

func (t *terms) describe() string {
	f := &t.filter
	return fmt.Sprintf("key=%q host=%q source=%q include=%q exclude=%q", t.key, f.Host, f.Source, f.Include, f.Exclude)
}

func newGroup(d *Distributor, name string, next sink.Position) *group {
	return &group{d: d, name: name, wake: make(chan struct{}, 1), progress: progress{next: next}, dirty: true}
}

// kick wakes the dispatcher.
func (g *group) kick() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// changedLocked has the group saved soon.
func (g *group) changedLocked() {
	g.dirty = true
	g.d.saveSoon()
}

// join adds a member.
func (g *group) join(m *member) error {
	t := terms{key: m.hello.Key, filter: filterOf(&m.hello)}
	var err error
	if t.match, err = g.d.sink.Matcher(t.filter); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.mayJoinLocked(&m.hello); err != nil {
		return err
	}
	switch {
	case g.removed:
		return fmt.Errorf("group %s was removed just now; try again", g.name)
	case len(g.members) == 0:
		g.terms, g.slots = t, nil
	case !g.terms.equal(&t):
		return fmt.Errorf("group %s has %d workers now, with %s; yours has %s. "+
			"All workers of a group must have the same key and filter",
			g.name, len(g.members), g.terms.describe(), t.describe())
	}
	if g.members = append(g.members, m); len(g.members) == 1 {
		g.d.served.Add(1)
	}
	g.d.counts.workers.Add(1)
	g.activateLocked(m)
	return nil
}

// activateLocked lets a member have lines: at once, or with a key when nothing is in
// flight, so that no key has lines at two workers.
func (g *group) activateLocked(m *member) {
	m.suspended = false
	if g.terms.key != "" {
		g.joining = append(g.joining, m)
		g.dealJoiningLocked()
	} else {
		m.active = true
		m.passed = g.leastPassedLocked()
	}
	g.kick()
}

// leastPassedLocked returns what the active member with the fewest lines has had, so
// that a new one starts level with it.
func (g *group) leastPassedLocked() float64 {
	least, found := 0.0, false
	for _, m := range g.members {
		if m.active && (!found || m.passed < least) {
			least, found = m.passed, true
		}
	}
	return least
}

// leave removes a member; what it had goes to others. The oldest delivery that it was
// sent may be what ended it: with blame, that counts as an attempt.
func (g *group) leave(m *member, blame bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m.out.gone = true
	g.d.counts.workers.Add(-1)
	blame = blame && !g.removed && !g.d.draining()
	for _, d := range slices.Clone(m.flight) {
		first := blame && d.sent && d.left > 0
		blame = blame && !first
		g.takeBackLocked(m, d, first, "the worker's connection ended before it answered")
	}
	m.out.queue = nil
	g.deactivateLocked(m)
	is := func(x *member) bool { return x == m }
	g.members = slices.DeleteFunc(g.members, is)
	g.joining = slices.DeleteFunc(g.joining, is)
	g.dealJoiningLocked()
	if len(g.members) == 0 {
		g.ahead = lookahead{} // not needed soon
		g.d.served.Add(-1)
	}
	g.changedLocked()
	g.kick()
}

// deactivateLocked takes a member's keys away.
func (g *group) deactivateLocked(m *member) {
	m.active = false
	g.releaseBehindLocked(m)
	if g.terms.key != "" {
		g.dealLocked()
	}
}

// takeBackLocked takes the unanswered lines of a delivery from a member.
func (g *group) takeBackLocked(m *member, d *delivery, blame bool, why string) {
	for _, lines := range d.open() {
		g.retakeLocked(m, d, lines, retake{blame: blame, reason: why})
	}
	g.unqueueLocked(m, d)
}

// unqueueLocked keeps a delivery from being written, if it was not yet.
func (g *group) unqueueLocked(m *member, d *delivery) {
	if i := slices.Index(m.out.queue, d); i >= 0 {
		m.out.queue = slices.Delete(m.out.queue, i, i+1)
		g.d.recycle(d.text)
		d.text = nil
	}
}

// retake is why lines are taken from a member, and what follows from it.
type retake struct {
	blame  bool // it counts as an attempt
	delay  bool // the next attempt waits: what the line needs may be out of order for a while
	reason string
}

// maxRetry bounds the pause before the next attempt, which doubles with each.
const maxRetry = time.Minute

// retakeLocked takes lines from a member, to be handed out again or, after the last
// attempt, to become dead letters.
func (g *group) retakeLocked(m *member, d *delivery, lines lineRange, how retake) {
	attempts := d.attempts
	if how.blame {
		attempts++
	}
	for _, fresh := range d.answer(lines.from, lines.to) {
		g.answeredLocked(m, fresh.to-fresh.from)
		for _, s := range d.spans(fresh, attempts) {
			if attempts >= g.d.now().Attempts {
				g.dead.add(s, how.reason, m.hello.Name)
				continue
			}
			due := time.Now().Add(min(g.d.now().Retry<<min(d.attempts, 16), maxRetry))
			switch {
			case g.terms.key != "" && m.active && !m.suspended:
				m.behind.add(s)
				if how.delay {
					m.pausedUntil = due // as a whole: lines after this one may have the same key
				}
			case how.delay:
				g.delayed = append(g.delayed, delayed{s, due})
			default:
				g.waiting.add(s)
			}
			g.version++
		}
	}
	m.dropAnsweredLocked()
	g.changedLocked()
}

// answeredLocked counts n lines of a member as no longer in flight.
func (g *group) answeredLocked(m *member, n int) {
	m.inFlight -= n
	g.inFlight -= n
	g.d.counts.inFlight.Add(int64(-n))
}

// endLeases takes back lines that were not answered in time. A worker that let a lease
// end receives nothing more until it sends a frame.
func (g *group) endLeases(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range g.members {
		if slices.ContainsFunc(m.flight, func(d *delivery) bool { return d.late(now) }) {
			g.suspendLocked(m, now)
		}
	}
}

// suspendLocked suspends a member, and takes back its late deliveries; with a key, all.
func (g *group) suspendLocked(m *member, now time.Time) {
	g.d.counts.leases.Add(1)
	m.suspended = true
	for _, d := range slices.Clone(m.flight) {
		late := d.late(now)
		if !late && g.terms.key == "" {
			continue
		}
		if open := d.open(); len(open) > 0 && d.sent {
			m.sendLostLocked(d, lineRange{open[0].from, open[len(open)-1].to}, "the lease ended")
		}
		g.takeBackLocked(m, d, late, fmt.Sprintf("no answer within %s", m.lease))
	}
	if g.terms.key != "" {
		g.deactivateLocked(m)
	}
	g.dealJoiningLocked()
	g.kick()
}

// move puts the group at a position, whatever it had before.
func (g *group) move(at sink.Position) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range g.members {
		for _, d := range slices.Clone(m.flight) {
			if d.left > 0 && d.sent {
				m.sendLostLocked(d, lineRange{0, len(d.ends)}, "the group was moved to another position")
			}
			g.takeBackLocked(m, d, false, "")
		}
		m.behind = nil
	}
	g.progress.move(at)
	g.dealJoiningLocked()
	g.changedLocked()
	g.kick()
}

// remove ends the group and disconnects its workers.
func (g *group) remove() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.removed = true
	for _, m := range g.members {
		m.nc.Close()
	}
	g.stop()
}

// announceDrain tells the workers that the collector is shutting down.
func (g *group) announceDrain() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.version++ // what is being read now is not handed out: answers to it may come too late
	for _, m := range g.members {
		m.sendLocked(&protocol.Frame{Kind: protocol.KindDrain})
	}
}
