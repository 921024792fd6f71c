package relp

import (
	"slices"
	"time"
)

// How long the first frames of a session are held while it is not clear whether they are
// repeats. A client that repeats sends all that it holds at once, so a silence shows that it
// waits for an answer.
const (
	quietTime  = 200 * time.Millisecond // without a frame
	steadyTime = 2 * time.Second        // the same, once steadyRun frames matched: the network may be slow
	steadyRun  = 8
	brokenTime = 5 * time.Second // for an older session of the peer whose answers do not arrive
	deadAfter  = 2               // so many attempts of the kernel to send them show that the session broke
	pollTime   = 10 * time.Millisecond
)

// opening is the beginning of a session, until it is decided which of its frames are repeats.
type opening struct {
	hashes      []uint64
	held        []*batch  // before the one that is being filled
	size        int       // of the lines in held
	began, last time.Time // the first frame that is held, and the last one
	full        bool      // no more can be held
	live        bool      // it depends on older sessions that are live

	flights map[*session]int // of each older session, the commit that was going on at the first frame
}

// quiet reports whether the peer is silent.
func (o *opening) quiet() bool { return o.full || time.Since(o.last) >= o.patience() }

// again returns when to decide again if no frame comes.
func (o *opening) again() time.Time {
	if o.live {
		return time.Now().Add(pollTime)
	}
	return o.last.Add(o.patience())
}

// patience is for how long the peer must be silent.
func (o *opening) patience() time.Duration {
	if len(o.hashes) >= steadyRun {
		return steadyTime
	}
	return quietTime
}

// verdict is what became of an opening.
type verdict struct {
	wait  bool     // undecided: ask again with the next frame, or after pollTime
	after *session // that it goes on with; nil: none
	run   int      // so many frames are repeats
	maybe int      // so many frames are written, and equal frames of a session that broke
	doubt *doubt   // whether more frames are repeats; nil: none
}

// prefers reports whether a session of which run frames are repeats goes before the one that was found:
// the shortest run does, and then the session that ended last.
func (v *verdict) prefers(s *session, run int) bool {
	return v.after == nil || run < v.run || run == v.run && s.ended.After(v.after.ended)
}

// decide compares the first frames of s, which are not empty, with the last ones of the older
// sessions of its peer. If s goes on with one of them, that one is live from then on, and s is
// gone.
func (m *Sessions) decide(s *session, o *opening) (v verdict) {
	first := o.hashes
	m.mu.Lock()
	defer m.mu.Unlock()
	ahead := m.peers[s.peer]
	ahead = ahead[:slices.Index(ahead, s)]
	more := false
	for _, old := range ahead {
		if old.refutation.holds(first[0]) {
			v.maybe = len(first)
			continue
		}
		x := overlapOf(first, old.hashes)
		if old.conn != nil {
			v.wait = o.awaitsCommit(old) || old.conn.mayBreak(x, o) || v.wait
			continue
		}
		more = more || x.more
		if x.shortest > 0 && v.prefers(old, x.shortest) {
			v.after, v.run = old, x.shortest
		}
	}
	switch {
	case v.wait:
		o.live = true
		return verdict{wait: true}
	case v.after != nil:
		v.maybe = 0
		v.doubt = newDoubt(ahead, first, v.run)
		m.dropLocked(s)
		v.after.conn = s.conn
	case more && o.quiet():
		v.maybe = len(first)
	case more:
		o.live, v.wait = false, true
	}
	return v
}

// refute notes that the frames with which s began are no repeats of older sessions.
func (m *Sessions) refute(s *session, first uint64, votes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, old := range m.peers[s.peer] {
		if old != s {
			old.vote(first, votes)
		}
	}
}

// awaitsCommit reports whether to wait for a commit of a live session, from which the first frames may
// be. If its connection was lost without a word, only the answers that follow the commit show that.
func (o *opening) awaitsCommit(old *session) bool {
	if _, known := o.flights[old]; !known {
		if o.flights == nil {
			o.flights = make(map[*session]int)
		}
		if o.flights[old] = 0; old.flying != nil {
			o.flights[old] = old.flight
		}
	}
	if old.flying == nil || o.flights[old] != old.flight {
		return false
	}
	x := overlapOf(o.hashes, slices.Concat(old.hashes, old.flying))
	if x.shortest == 0 && !x.more {
		return false
	}
	o.began = time.Now()
	return true
}

// mayBreak reports whether to wait for the connection, of an older session of the same peer: if
// it has broken, or breaks now, the first frames of a new session may be its last ones. x is how
// these overlap what it has committed.
func (c *conn) mayBreak(x overlap, o *opening) bool {
	pending := c.pending.Load() > 0 // before the probe: an answer that is written meanwhile is in one of them
	p := c.probe()
	if p.ended || c.Woken() {
		return true // its end is known soon
	}
	held := time.Since(o.began)
	switch {
	case o.full:
		return false
	case x.shortest == 0 && !x.more:
		return held < quietTime && (pending || p.unread > 0) // what it has committed is not all
	case p.retransmits >= deadAfter: // the peer answers here, and not there
		c.Cut()
		return true
	case p.unacked > 0 || pending || p.unread > 0:
		return held < brokenTime
	}
	return !o.quiet()
}

// doubt is about frames that were written although they may be repeats: a longer run matched, too.
type doubt struct {
	run   int
	first []uint64
	lasts [][]uint64 // of sessions in which a longer run may go on
	found int        // frames beyond run that are in one of them
}

// newDoubt returns the doubt that is left when the first frames of a session are a run.
func newDoubt(ended []*session, first []uint64, run int) *doubt {
	d := &doubt{run: run, first: slices.Clone(first)}
	for _, s := range ended {
		if x := overlapOf(first, s.hashes); s.conn == nil && (x.more || x.longest > run) {
			d.lasts = append(d.lasts, slices.Clone(s.hashes))
		}
	}
	if len(d.lasts) == 0 {
		return nil
	}
	return d
}

// open counts what was found until now, and reports whether more may be.
func (d *doubt) open() (open bool) {
	for _, last := range d.lasts {
		x := overlapOf(d.first, last)
		d.found = max(d.found, x.longest-d.run)
		open = open || x.more
	}
	return open
}
