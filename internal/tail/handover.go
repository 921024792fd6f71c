package tail

import (
	"context"
	"errors"
	"slices"

	"fanin/internal/wire"
)

// A stream names bytes, and belongs to the file that has them. When a file was copied and truncated, its stream
// goes to the copy; when a longer version replaced it, to that. The file itself begins a new stream, if it has
// more. What the saved positions say of both changes at once: no start knows of one of them alone, and no two
// streams have the same bytes.

// handOver hands f's stream to g, the follower of the copy, unless g has begun to send. g may not have been
// started yet; if the tailer found the same file meanwhile, that follower gets the stream.
func (t *Tailer) handOver(ctx context.Context, f, g *follower, sent localState) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	running := t.followers[g.key]
	if running != nil && running != g {
		g.file.close()
		g = running
	}
	stream := f.place.stream
	own, ok := g.receive(stream, sent)
	if !ok {
		return false
	}
	g.mu.Lock()
	since := g.modified
	g.mu.Unlock()
	f.mu.Lock()
	f.place.start(wire.NewStreamID(), newLocalState())
	f.noteReusedLocked(f.path, since) // it may have been copied more than once meanwhile
	f.mu.Unlock()
	sent.trail = slices.Clone(sent.trail)
	mine := f.position()
	mine.Start = false
	delete(t.claims, own) // nothing was sent in it, see savedPosition.Copy
	t.claims[stream], t.claims[mine.Stream] = g, f
	t.positions.replace(own, g.positionOf(stream, &sent, 0), mine)
	if running == nil {
		t.startLocked(ctx, g)
	}
	g.notify()
	return true
}

// receive takes a stream that is handed over in place of the file's own, unless it was begun.
func (f *follower) receive(stream wire.StreamID, from localState) (own wire.StreamID, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.maybeCopy || f.place.handover != nil {
		return own, false
	}
	own = f.place.stream
	f.place.stream, f.place.handover = stream, &from
	return own, true
}

// takeOver makes the stream of another file f's, which is a longer version of it, where nothing of f was sent
// yet. It returns false if the other follower is not at rest there.
func (t *Tailer) takeOver(f, before *follower, at wire.Point) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.followers[before.key] != before || f.wasHandedOver() {
		return false
	}
	stream, from, ok := before.give(f, at)
	if !ok {
		return false
	}
	f.mu.Lock()
	own := f.place.stream
	f.place.start(stream, from)
	f.maybeCopy = false
	f.mu.Unlock()
	from.trail = slices.Clone(from.trail)
	delete(t.claims, own)
	t.claims[stream] = f
	t.positions.replace(own, f.positionOf(stream, &from, 0))
	return true
}

// give gives the stream away if all that was sent is acknowledged, up to this place.
func (f *follower) give(to *follower, at wire.Point) (stream wire.StreamID, from localState, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := &f.place
	if !p.agreed || p.given || p.sent != at || p.local.Point != at {
		return stream, from, false
	}
	p.given, f.successor = true, to
	from = p.local
	from.trail = slices.Clone(from.trail)
	return p.stream, from, true
}

// keep keeps the stream from being given away, for it is going to end; false: it was given away.
func (f *follower) keep() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	mine := !f.place.given
	f.place.given = true
	return mine
}

// errGiven says that the stream was given away: the file goes on with a new one.
var errGiven = errors.New("the stream belongs to a longer version of the file now")

// replacedBy returns the longer version that replaced the file, nil if there is none; no file has none.
func (f *follower) replacedBy() *follower {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.successor
}
