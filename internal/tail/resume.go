package tail

import (
	"context"
	"slices"
	"time"

	"fanin/internal/wire"
)

// situation is what decides where a stream resumes.
type situation struct {
	local     localState
	remote    *wire.Watermark       // the collector's; nil: it does not know the stream
	sameLog   bool                  // local was acknowledged by this incarnation of the log
	size      int64                 // of the file
	holds     func(wire.Point) bool // whether the file holds a place, as it is now
	rewritten wire.Point            // where a file resumes that was written anew; zero: it was not
}

// plan is how a stream resumes.
type plan struct {
	epoch              uint32
	base               wire.Point  // where the stream is opened
	skip               *wire.Point // after the open, skip to here: it is in the log already
	possibleDuplicates int64       // bytes behind base that may be in the log already
}

// decide decides where a stream resumes. The first row that fits applies; "-" means any. A
// new epoch begins where the file's past changed: at the last place of a trail that it still
// holds, or at its start.
//
// The collector's watermark says what is in the log. Only when the log's incarnation changed
// is the local state believed where it is further: the log once had more than it knows now.
//
//	remote   local    log      file holds      outcome
//	unknown  unsent   -        local           open at local
//	unknown  sent     same     local           open at local
//	unknown  sent     changed  local           open at the start, skip to local
//	unknown  -        -        not local       new epoch at the trail
//	known    ahead    changed  local, remote   open at remote, skip to local
//	known    later    changed  local           new epoch at local
//	known    ahead    changed  local           new epoch at local
//	known    -        -        remote          open at remote
//	known    -        -        neither         new epoch at the trail
//
// Local is ahead if it is further in remote's epoch, and later if its epoch is later.
func (s *situation) decide() plan {
	local, remote := &s.local, s.remote
	if remote == nil {
		return s.decideUnknown()
	}
	ahead := !s.sameLog && !local.unsent && local.isAheadOf(remote) && s.holds(local.Point)
	switch {
	case ahead && local.epoch == remote.Epoch && s.holds(remote.Point):
		return plan{epoch: remote.Epoch, base: remote.Point, skip: &local.Point}
	case ahead:
		return plan{epoch: remote.Epoch + 1, base: local.Point}
	case s.holds(remote.Point):
		return plan{epoch: remote.Epoch, base: remote.Point}
	}
	return s.newEpoch(remote.Epoch, remote.Offset, remote.Trail)
}

// decideUnknown is decide for a stream that the collector does not know.
func (s *situation) decideUnknown() plan {
	local := &s.local
	held := s.holds(local.Point)
	switch {
	case held && (local.unsent || s.sameLog):
		return plan{epoch: local.epoch, base: local.Point}
	case held:
		return plan{epoch: local.epoch, skip: &local.Point}
	}
	return s.newEpoch(local.epoch, local.Offset, nil)
}

// newEpoch begins an epoch after one of which everything before end may be in the log.
func (s *situation) newEpoch(after uint32, end int64, trail []wire.Point) plan {
	places := slices.Concat(s.local.trail, trail, []wire.Point{s.rewritten})
	p := plan{epoch: after + 1, base: lastHeld(places, s.holds)}
	if p.base.Offset > 0 && p.base != s.rewritten {
		p.possibleDuplicates = max(0, min(s.size, end)-p.base.Offset)
	}
	return p
}

// lastHeld is the furthest of some places that the file holds, its start if none.
func lastHeld(places []wire.Point, holds func(wire.Point) bool) (last wire.Point) {
	for _, p := range places {
		if p.Offset > last.Offset && holds(p) {
			last = p
		}
	}
	return last
}

// resume makes both sides agree where the stream resumes.
func (f *follower) resume(ctx context.Context) error {
	f.claim()
	if f.t.Lossy {
		return f.resumeLossy()
	}
	f.checks.shrinks = f.countShrinks()
	s, id := f.situation()
	sent := s.local
	if s.remote != nil {
		sent = sent.at(s.remote)
	}
	if err := f.file.readable(sent.Offset); err != nil {
		return err
	}
	if !s.holds(sent.Point) {
		f.seeText("", true)
		if f.continueInCopy(ctx, sent) {
			return errTruncated
		}
		f.awaitRewrite(ctx, sent.Point)
		f.checks.shrinks = f.countShrinks()
		s.holds = onceEach(f.file.holds)
		s.rewritten = f.rewritten(ctx, sent.Point, s.holds)
	}
	s.size = f.file.size()
	p := s.decide()
	f.place.doubt = max(f.place.doubt, p.possibleDuplicates) // the open may be answered at the next attempt
	if err := f.open(ctx, p); err != nil {
		return err
	}
	return f.agree(p, id)
}

// situation is what is known before the stream is opened.
func (f *follower) situation() (s situation, id logID) {
	local := &f.place.local
	id, remote := f.t.session.watermark(f.place.stream)
	s = situation{local: *local, remote: remote, sameLog: local.log == id, holds: onceEach(f.file.holds)}
	answer := f.place.expected
	f.place.expected = nil
	switch {
	case answer != nil && answer.Known:
		s.remote = &answer.Watermark
	case answer != nil:
		s.remote = nil
	case s.sameLog && !local.unsent && (remote == nil || local.isAheadOf(remote)):
		// The welcome is older than what was acknowledged since.
		s.remote = &wire.Watermark{Epoch: local.epoch, Point: local.Point, Trail: local.trail}
	}
	return s, id
}

// onceEach checks each place a single time: when a file is truncated between two checks, a
// decision must not see it as whole in one and as changed in the other.
func onceEach(holds func(wire.Point) bool) func(wire.Point) bool {
	seen := make(map[wire.Point]bool)
	return func(p wire.Point) bool {
		held, ok := seen[p]
		if !ok {
			held = holds(p)
			seen[p] = held
		}
		return held
	}
}

// open opens the stream as planned, and skips what is in the log already. The file's
// beginning is read for it: the file may begin otherwise than before, and an agent
// that lost its saved positions goes by what the collector knows of it.
func (f *follower) open(ctx context.Context, p plan) error {
	f.file.begins.Store(nil)
	f.noteBeginning()
	b := wire.Batch{Op: wire.OpOpen, Stream: f.place.stream, Epoch: p.epoch, Offset: p.base.Offset, End: p.base.Offset,
		Before: p.base.Tail, After: p.base.Tail, Source: f.source, Control: wire.Control{Identity: f.identity()}}
	err := f.t.Out.Append(ctx, b)
	if err != nil || p.skip == nil || p.skip.Offset == p.base.Offset {
		return err
	}
	f.t.counts.skipped.Add(uint64(p.skip.Offset - p.base.Offset))
	return f.t.Out.Append(ctx, wire.Batch{Op: wire.OpSkip, Stream: f.place.stream, Epoch: p.epoch,
		Offset: p.base.Offset, End: p.skip.Offset, Before: p.base.Tail, After: p.skip.Tail,
		Control: wire.Control{Reason: "kept in an earlier life of the log"}})
}

// noteBeginning notes how the file begins when its stream is opened. A file of which nothing was
// sent may have been written anew since the last look: what it held may be in a copy.
func (f *follower) noteBeginning() {
	f.seeText("", false)
	f.setOpened(headOf(f.file.headSums()))
}

func (f *follower) setOpened(h head) {
	f.mu.Lock()
	f.checks.opened = h
	f.mu.Unlock()
}

// agree makes the planned place the acknowledged one.
func (f *follower) agree(p plan, id logID) error {
	at := p.base
	if p.skip != nil {
		at = *p.skip
	}
	if again := f.place.doubt; again > 0 {
		f.place.doubt = 0
		f.t.counts.doubled.Add(uint64(again))
		f.t.Log.Warn("the file lost bytes that were sent; sending resumes at the last unchanged place, "+
			"so lines may be in the log twice",
			"path", f.path, "from", at.Offset, "bytes", again)
	}
	f.file.chooseAgain()
	c, err := f.file.cursorAt(at.Offset, f.place.local.lines)
	if err != nil {
		return err
	}
	if c.Tail != at.Tail {
		return errTruncated // and written again, while the collector answered
	}
	f.mu.Lock()
	local := &f.place.local
	if p.epoch != local.epoch {
		local.trail = nil
	} else {
		local.leaveTrail(at.Offset) // a copy may end where the last answer was
	}
	local.trail = slices.DeleteFunc(local.trail, func(p wire.Point) bool { return p.Offset >= at.Offset })
	local.cursor, local.epoch, local.log, local.unsent = c, p.epoch, id, false
	if f.placed != f.checks.shrinks || f.was == "" {
		f.sentSince = time.Time{}
		if f.shrinks == f.checks.shrinks {
			f.sentSince = f.begun
		}
	}
	f.placed = f.checks.shrinks
	f.mu.Unlock()
	f.advance(c)
	return nil
}

// resumeLossy resumes at the saved position alone.
func (f *follower) resumeLossy() error {
	local := &f.place.local
	p := plan{epoch: local.epoch, base: local.Point}
	if !local.unsent && !f.file.holds(local.Point) {
		p = plan{epoch: local.epoch + 1, base: lastHeld(local.trail, f.file.holds)}
		f.mu.Lock()
		local.lines = 0
		f.mu.Unlock()
	}
	return f.agree(p, logID{})
}

// claim registers this follower as that of its stream, and makes one if it has none. The next start
// then finds the file, whatever its name is, also if nothing of it was ever sent.
//
// A stream that was handed over is saved at once: when it is opened for this file, the collector knows no more
// of the other one, which may be renamed while no process runs. If it cannot be written, the loop reports it.
func (f *follower) claim() {
	f.mu.Lock()
	received := f.acceptHandoverLocked()
	f.mu.Unlock()
	m := f.position() // it reads the file: without a lock
	f.t.mu.Lock()
	f.mu.Lock()
	received = f.acceptHandoverLocked() || received // meanwhile
	if f.place.stream.IsZero() {
		f.place.stream = wire.NewStreamID()
	}
	f.completeLocked(m)
	f.mu.Unlock()
	f.t.claims[m.Stream] = f
	f.t.positions.update(m)
	f.t.mu.Unlock()
	if received {
		f.t.positions.write(false)
	}
}

// claimFirst is claim before the follower runs: it may wait for long, and its file be renamed while no process runs.
func (f *follower) claimFirst() {
	if !f.isArchive() && !f.isChained() {
		f.claim()
	}
}

// unclaimLocked is for a follower that does not run, since its file is followed by now.
func (t *Tailer) unclaimLocked(f *follower) {
	if id := f.place.stream; t.claims[id] == f {
		delete(t.claims, id)
		if m := t.positions.get(id); m != nil && m.Offset == 0 {
			t.positions.remove(id)
		}
	}
}

// remember saves what is known of a file's text in which the stream has no place. The goroutine that looks
// calls it, too.
func (f *follower) remember() {
	m := f.position()
	f.t.mu.Lock()
	defer f.t.mu.Unlock()
	f.mu.Lock()
	p := &f.place
	same := f.unplacedLocked() && p.handover == nil && !p.given && p.stream == m.Stream && p.local.Point == m.Point
	f.completeLocked(m)
	f.mu.Unlock()
	if same {
		f.t.positions.refresh(m)
	}
}

// completeLocked adds what decides whether a saved position, which was made just before, is believed.
func (f *follower) completeLocked(m *savedPosition) {
	m.Stream, m.Copy, m.Start = f.place.stream, f.maybeCopy, m.Start && m.Offset > 0
}

// acceptHandoverLocked makes the stream that was handed over this file's, and reports whether one was. A file
// whose stream was given away goes on with a new one.
func (f *follower) acceptHandoverLocked() (received bool) {
	switch p := &f.place; {
	case p.handover != nil:
		p.start(p.stream, *p.handover)
		f.maybeCopy = false
		return true
	case p.given:
		p.start(wire.StreamID{}, localState{cursor: p.local.cursor, epoch: 1, log: p.local.log, unsent: true})
	}
	return false
}
