package sink

import (
	"slices"
	"unique"

	"fanin/internal/wire"
)

// stream is what the log knows of one stream. The writer alone changes it, and
// only by applying records, before and after a crash alike.
//
// A log may know hundreds of thousands, so the struct is kept small.
type stream struct {
	id               wire.StreamID // as records name it: own.Owned(kind, agent), but of version 1 own itself
	own              wire.StreamID
	origin           unique.Handle[origin]
	source, identity string
	wire.Watermark
	lines int64 // lossy: lines until the watermark
	seen  int64 // when the collector last committed something of it, in microseconds since 1970

	index   int32 // among its owner's streams
	batches uint8 // lossy: batches it had; 2 is two or more
	dirty   bool  // changed since the last checkpoint
	ended   bool
}

func (st *stream) lossy() bool { return st.origin.Value().kind == wire.StreamLossy }

// hadOneBatch reports whether st had one batch and no more. Of version 1 that is not
// known, and no reason to displace a stream.
func (st *stream) hadOneBatch() bool { return st.batches < 2 && !st.ended }

// trailStep is the least distance between two points of a trail, in bytes.
const trailStep = 64 << 10

// apply moves the stream as a committed record says.
func (st *stream) apply(r *record) {
	if r.epoch != st.Epoch || r.end < st.Offset || r.op == wire.OpOpen && r.end != st.Offset {
		st.Trail = nil
	}
	if r.op == wire.OpData || r.op == wire.OpSkip {
		st.leaveTrail()
	}
	if r.op == wire.OpData {
		st.batches = min(st.batches+1, 2)
	}
	st.Epoch, st.Offset = r.epoch, r.end
	if r.lossy {
		st.lines = int64(r.after)
	} else {
		st.Tail = r.after
	}
	st.ended = r.op == wire.OpEnd
}

// leaveTrail remembers the watermark that is about to be left behind. Points
// far back are kept further apart, so that a few serve every distance.
func (st *stream) leaveTrail() {
	t := st.Trail
	if st.lossy() || st.Offset == 0 || len(t) > 0 && st.Offset-t[len(t)-1].Offset < trailStep {
		return
	}
	t = append(slices.Clip(t), st.Point) // a copy: the old one may be on its way to an agent
	if len(t) > wire.MaxTrail {
		drop := 1
		for i := 2; i < len(t)-1; i++ {
			if crowding(t, i) < crowding(t, drop) {
				drop = i
			}
		}
		t = slices.Delete(t, drop, drop+1)
	}
	st.Trail = t
}

// crowding is the room around point i as a part of its distance from the end.
func crowding(t []wire.Point, i int) float64 {
	end := t[len(t)-1].Offset + trailStep
	return float64(t[i+1].Offset-t[i-1].Offset) / float64(end-t[i].Offset)
}

// expected returns the stream's watermark, for an answer.
func (st *stream) expected() *wire.Expected {
	if st == nil || st.ended {
		return &wire.Expected{}
	}
	return &wire.Expected{Known: true, Watermark: st.Watermark}
}

// verdict is what becomes of a batch of a stream.
type verdict int

const (
	fits       verdict = iota
	repeat             // committed already: acknowledge it again
	outOfPlace         // the stream is at another offset: the answer has that
)

// compare compares a batch with the watermark and swaps nothing yet. It never
// trims and never guesses: a batch fits exactly, is a repeat, or is refused.
func (st *stream) compare(b *wire.Batch) verdict {
	known := st != nil && !st.ended
	switch {
	case b.Op == wire.OpEnd && !known:
		return repeat
	case b.Op == wire.OpOpen && !known:
		return fits
	case !known:
		return outOfPlace
	case b.Op == wire.OpOpen:
		return st.compareOpen(b)
	case b.Epoch == st.Epoch && b.Offset == st.Offset && b.Before == st.Tail:
		return fits
	case b.Op != wire.OpEnd && b.Epoch == st.Epoch && b.End == st.Offset && b.After == st.Tail:
		return repeat
	}
	return outOfPlace
}

func (st *stream) compareOpen(b *wire.Batch) verdict {
	same := b.Epoch == st.Epoch && b.Offset == st.Offset && b.Before == st.Tail
	switch {
	case same && st.hasNames(b):
		return repeat
	case same || b.Epoch == st.Epoch+1:
		return fits
	}
	return outOfPlace
}
