package tail

import (
	"slices"
	"time"

	"fanin/internal/wire"
)

// localState is what this side knows of a stream: from its saved position, or from what was
// acknowledged since.
type localState struct {
	cursor              // the acknowledged place
	epoch  uint32       // as in wire.Watermark
	trail  []wire.Point // earlier places of the epoch, ascending
	log    logID        // which acknowledged it
	unsent bool         // nothing was ever sent
}

// logID names one incarnation of a log. A saved position is believed before the collector's
// watermark only when the incarnation changed.
type logID struct{ log, incarnation wire.StreamID }

func newLocalState() localState { return localState{epoch: 1, unsent: true} }

// wasRead reports whether the file was read at the place in this process, so that the
// bytes before it are known, and not only their hash.
func (l *localState) wasRead() bool { return l.tail != nil }

// at returns the same stream at another place, of which only the hash is known.
func (l localState) at(w *wire.Watermark) localState {
	if w.Point != l.Point {
		l.cursor = cursor{Point: w.Point, lines: l.lines}
	}
	l.epoch = w.Epoch
	return l
}

// isAheadOf reports whether a watermark is older than what is known here.
func (l *localState) isAheadOf(w *wire.Watermark) bool {
	return l.epoch > w.Epoch || l.epoch == w.Epoch && l.Offset > w.Offset
}

// leaveTrail adds the place to the trail before the stream moves on to next, if it is far
// enough from the last one there.
func (l *localState) leaveTrail(next int64) {
	const step = 64 << 10
	if l.Offset == 0 || next == l.Offset {
		return
	}
	if n := len(l.trail); n > 0 && l.Offset-l.trail[n-1].Offset < step {
		return
	}
	l.trail = append(l.trail, l.Point)
	if len(l.trail) > wire.MaxTrail {
		l.trail = slices.Delete(l.trail, 1, 2) // the oldest one stays: it serves the largest losses
	}
}

// progress is how far a file's stream is sent and acknowledged. Only the follower's goroutine
// changes it, and it locks follower.mu for that; it reads without the lock, and all others
// read with it. Only a handover comes from another goroutine.
//
//   - local.Offset <= sent.Offset. The bytes between them may be in the log: one batch, or as many
//     as are on their way.
//   - Once agreed is set, the collector confirmed local in this process, the file was read
//     there, and local.tail holds the bytes before it.
//   - The stream's saved position is local with sent. Whatever moves local puts the saved position.
//   - One follower has the stream, see handover.go.
type progress struct {
	stream   wire.StreamID
	local    localState
	sent     wire.Point // the end of the last batch that was sent, whatever became of it
	agreed   bool
	expected *wire.Expected // the collector's answer that the stream is elsewhere; the goroutine's own
	handover *localState    // the stream that a truncated file's follower handed to this one
	doubt    int64          // bytes that may come twice, by a plan that is not agreed on; the goroutine's own
	given    bool           // the stream is no longer this file's, or is going to end
}

// start sets the place from which the stream resumes, before anything is agreed.
func (p *progress) start(stream wire.StreamID, from localState) {
	*p = progress{stream: stream, local: from, sent: from.Point}
}

// advance makes c the acknowledged place. If no batch is on its way, nothing behind it was sent.
func (p *progress) advance(c cursor, onItsWay bool) {
	p.local.leaveTrail(c.Offset)
	p.local.cursor, p.agreed = c, true
	if !onItsWay {
		p.sent = c.Point
	}
}

// advance makes c the acknowledged place, and saves it.
func (f *follower) advance(c cursor) {
	onItsWay := len(f.flights) > 0
	f.mu.Lock()
	f.place.advance(c, onItsWay)
	f.report.trouble, f.report.moved, f.report.stuck = "", time.Now(), false
	if !onItsWay {
		f.report.waits = ""
	}
	f.mu.Unlock()
	f.reading.grown = time.Now()
	f.savePosition()
}

// savePosition notes the place as the agent's own record. An archive has none: its stream is
// known by its content.
func (f *follower) savePosition() {
	if f.isArchive() {
		return
	}
	m := f.position() // it reads the file: without a lock
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.place.given {
		f.t.positions.put(m)
	}
}
