package tail

import (
	"context"
	"slices"

	"fanin/internal/wire"
)

// belief is what this side holds for true of a stream: from its mark, or from
// what was acked since.
type belief struct {
	wire.Point
	epoch uint32
	trail []wire.Point // earlier points, ascending
	lines int64
	log   logID      // whose acks it rests on
	fresh bool       // nothing was ever sent
	moved wire.Point // where the file, which was rewritten, goes on
}

// logID names a life of a log: marks are believed only across a change of it.
type logID struct{ log, incarnation wire.StreamID }

// leaveTrail remembers the place that is about to be left, if it is far enough
// from the one before.
func (b *belief) leaveTrail(next int64) {
	const step = 64 << 10
	if b.Offset == 0 || len(b.trail) > 0 && b.Offset-b.trail[len(b.trail)-1].Offset < step || next == b.Offset {
		return
	}
	b.trail = append(b.trail, b.Point)
	if len(b.trail) > wire.MaxTrail {
		b.trail = slices.Delete(b.trail, 1, 2) // the oldest one stays: it serves the largest losses
	}
}

// plan is how to go on with a stream.
type plan struct {
	epoch  uint32
	base   wire.Point
	skip   *wire.Point // behind the open, skip to here: it is in the log already
	reason string      // of the skip
	doubt  int64       // bytes that may be in the log already
}

// decide says where to go on. own is what this side believes, theirs is the
// collector's watermark (nil: it does not know the stream), same whether it is
// the life of the log that own rests on, size the file's, and holds tells
// whether a place is in the file as it is now.
//
// The collector's watermark is the truth of what is in the log. Only when the
// log changed its life is the mark believed where it is ahead: the log had more
// once than it remembers. If the file does not hold the place, its past changed:
// a new epoch begins at the last place that it still holds, or at its start.
func decide(own belief, theirs *wire.Watermark, same bool, size int64, holds func(wire.Point) bool) plan {
	if theirs == nil {
		return decideUnknown(own, same, size, holds)
	}
	ahead := !same && !own.fresh && (own.epoch > theirs.Epoch || own.epoch == theirs.Epoch && own.Offset > theirs.Offset) && holds(own.Point)
	switch {
	case ahead && own.epoch == theirs.Epoch && holds(theirs.Point):
		return plan{epoch: theirs.Epoch, base: theirs.Point, skip: &own.Point, reason: "kept in an earlier life of the log"}
	case ahead:
		return plan{epoch: theirs.Epoch + 1, base: own.Point}
	case holds(theirs.Point):
		return plan{epoch: theirs.Epoch, base: theirs.Point}
	}
	base := lastHeld(slices.Concat(own.trail, theirs.Trail), holds)
	return plan{epoch: theirs.Epoch + 1, base: base, doubt: own.doubt(base, min(size, theirs.Offset))}
}

// doubt is how many bytes behind base may be in the log already, up to end.
func (b *belief) doubt(base wire.Point, end int64) int64 {
	if base.Offset == 0 || base == b.moved {
		return 0
	}
	return max(0, end-base.Offset)
}

// decideUnknown is for a stream that the collector does not know.
func decideUnknown(own belief, same bool, size int64, holds func(wire.Point) bool) plan {
	held := holds(own.Point)
	switch {
	case own.fresh, same && held:
		return plan{epoch: own.epoch, base: own.Point}
	case held:
		return plan{epoch: own.epoch, skip: &own.Point, reason: "kept in an earlier life of the log"}
	}
	base := lastHeld(own.trail, holds)
	return plan{epoch: own.epoch + 1, base: base, doubt: own.doubt(base, min(size, own.Offset))}
}

// lastHeld is the furthest of some points that the file holds, its start if none.
func lastHeld(points []wire.Point, holds func(wire.Point) bool) (last wire.Point) {
	for _, p := range points {
		if p.Offset > last.Offset && holds(p) {
			last = p
		}
	}
	return last
}

// resume makes the other side and this one agree where the stream goes on.
func (f *Follower) resume(ctx context.Context) error {
	f.claim()
	if f.t.Lossy {
		return f.resumeLossy()
	}
	id, theirs := f.t.watermark(f.stream)
	same := f.belief.log == id
	switch {
	case f.answer != nil && f.answer.Known:
		theirs = &f.answer.Watermark
	case f.answer != nil:
		theirs = nil
	case same && !f.belief.fresh && (theirs == nil || behind(theirs, &f.belief)):
		// The welcome is older than what was acked since.
		theirs = &wire.Watermark{Epoch: f.belief.epoch, Point: f.belief.Point, Trail: f.belief.trail}
	}
	f.answer = nil
	holds := once(f.file.holds)
	acked := f.belief
	if theirs != nil {
		acked.Point, acked.epoch = theirs.Point, theirs.Epoch
	}
	own := f.belief
	if err := f.file.readable(acked.Offset); err != nil {
		return err
	}
	if !acked.fresh && !holds(acked.Point) {
		if f.lookForCopy(ctx, acked) {
			return errTruncated
		}
		f.awaitRewrite(ctx, acked.Point)
		holds = once(f.file.holds)
		if at, found := f.rewritten(ctx, acked.Point, holds); found {
			own.trail, own.moved = append(slices.Clone(own.trail), at), at
		}
	}
	p := decide(own, theirs, same, f.file.size(), holds)
	if err := f.open(ctx, p); err != nil {
		return err
	}
	return f.begin(p, id)
}

// once looks at each place a single time: a file that is truncated between two
// looks must not be whole to one and changed to the other.
func once(holds func(wire.Point) bool) func(wire.Point) bool {
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

func behind(w *wire.Watermark, b *belief) bool {
	return w.Epoch < b.epoch || w.Epoch == b.epoch && w.Offset < b.Offset
}

// open opens the stream as planned, and skips what is in the log already. What the
// collector is told of the file's beginning is read for it: the file may begin
// otherwise than it did, and an agent that lost its marks goes by that.
func (f *Follower) open(ctx context.Context, p plan) error {
	f.begins.Store(nil)
	err := f.t.Out.Append(ctx, wire.Batch{Op: wire.OpOpen, Stream: f.stream, Epoch: p.epoch, Offset: p.base.Offset, End: p.base.Offset,
		Before: p.base.Tail, After: p.base.Tail, Source: f.source, Identity: f.identity()})
	if err != nil || p.skip == nil || p.skip.Offset == p.base.Offset {
		return err
	}
	f.t.counts.skipped.Add(uint64(p.skip.Offset - p.base.Offset))
	return f.t.Out.Append(ctx, wire.Batch{Op: wire.OpSkip, Stream: f.stream, Epoch: p.epoch, Offset: p.base.Offset, End: p.skip.Offset,
		Before: p.base.Tail, After: p.skip.Tail, Reason: p.reason})
}

// begin takes the agreed place for acked.
func (f *Follower) begin(p plan, id logID) error {
	at := p.base
	if p.skip != nil {
		at = *p.skip
	}
	if p.doubt > 0 {
		f.t.counts.doubled.Add(uint64(p.doubt))
		f.t.Log.Warn("the file lost bytes that were sent; it goes on at the last place that is unchanged, so lines may be in the log twice",
			"path", f.path, "from", at.Offset, "bytes", p.doubt)
	}
	if p.epoch != f.belief.epoch {
		f.belief.trail = nil
	}
	c, err := f.file.cursorAt(at.Offset, f.belief.lines)
	if err != nil {
		return err
	}
	f.belief.trail = slices.DeleteFunc(f.belief.trail, func(p wire.Point) bool { return p.Offset >= at.Offset })
	f.belief.Point, f.belief.epoch, f.belief.log, f.belief.fresh = c.Point, p.epoch, id, false
	f.moveTo(c)
	return nil
}

// resumeLossy goes on from the mark alone.
func (f *Follower) resumeLossy() error {
	p := plan{epoch: f.belief.epoch, base: f.belief.Point}
	if !f.belief.fresh && !f.file.holds(f.belief.Point) {
		p = plan{epoch: f.belief.epoch + 1, base: lastHeld(f.belief.trail, f.file.holds)}
		f.belief.lines = 0
	}
	return f.begin(p, logID{})
}

func newBelief() belief { return belief{epoch: 1, fresh: true} }

// claim says that this follower has the stream, making one where it has none.
func (f *Follower) claim() {
	f.mu.Lock()
	if f.given != nil {
		f.belief, f.given = *f.given, nil
	}
	if f.stream.IsZero() {
		f.stream = wire.NewStreamID()
	}
	id := f.stream
	f.mu.Unlock()
	f.t.mu.Lock()
	f.t.claims[id] = f
	f.t.mu.Unlock()
}

// watermark is what the last welcome said of a stream.
func (t *Tailer) watermark(id wire.StreamID) (logID, *wire.Watermark) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.streams[id]; s != nil {
		w := s.Watermark
		return t.life(), &w
	}
	return t.life(), nil
}

// nextWelcome is closed at the next welcome.
func (t *Tailer) nextWelcome() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.renewed == nil {
		t.renewed = make(chan struct{})
	}
	return t.renewed
}

// lastLineEnd is the place behind the last whole line.
func (f *file) lastLineEnd() wire.Point {
	end := f.size()
	for end > 0 {
		from := max(0, end-64<<10)
		b := make([]byte, end-from)
		if _, err := f.f.ReadAt(b, from); err != nil {
			break
		}
		if i := f.decoder.LineStart(b, from); i >= 0 {
			c, err := f.cursorAt(from+int64(i), 0)
			if err != nil {
				break
			}
			return c.Point
		}
		end = from
	}
	return wire.Point{}
}
