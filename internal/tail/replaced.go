package tail

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"time"

	"fanin/internal/disk"
	"fanin/internal/wire"
)

// An editor, sed -i or rsync replaces a file by another version, as a new file or by writing
// the old one anew. What both have in common was sent. Little in common proves nothing,
// since many files begin alike: from leastProof bytes on, sending resumes behind the bytes
// that were sent last, wherever they are in the new version. All this is true only if the
// old file is gone: one that still exists was rotated, and a program that writes the same
// lines each night makes a new file that begins with all of the old one.

// backupSuffix is what editors and rsync --backup append to the name of the version that they
// replace.
const backupSuffix = "~"

// livesOn reports whether a file that lost its name has another one, which is not that of a
// backup that no table names; or whether there is a rotated file that is as new as it. Then
// the file that has its name now is no version of it, whatever it holds.
func (f *follower) livesOn() bool {
	f.mu.Lock()
	path, label, modified := f.path, f.label(), f.modified
	f.mu.Unlock()
	if name := f.nameNow(path, label); name != "" {
		return name != label+backupSuffix || f.t.names(name)
	}
	if fi, err := f.file.f.Stat(); err == nil && disk.Links(fi) > 0 {
		return true // in another directory
	}
	written := f.file.modified(modified)
	rotated := nameIn(f.dir, func(e os.DirEntry) bool {
		if !rotatedFrom(filepath.Base(label), e.Name()) {
			return false
		}
		fi, err := e.Info()
		return err == nil && !wasBefore(fi.ModTime(), written)
	})
	return rotated != ""
}

// search returns the offset behind the first occurrence of text at or behind from, -1 if there
// is none.
func (f *file) search(ctx context.Context, from int64, text []byte) int64 {
	const step = 1 << 20
	b := make([]byte, step+len(text))
	for ; ctx.Err() == nil; from += step {
		n, err := f.f.ReadAt(b, from)
		if i := bytes.Index(b[:n], text); i >= 0 {
			return from + int64(i+len(text))
		}
		if err != nil {
			break
		}
	}
	return -1
}

// moved returns the place in the file that corresponds to a place in an earlier version with
// these bytes before it.
func (f *file) moved(ctx context.Context, tail []byte) (wire.Point, bool) {
	if !telling(tail) {
		return wire.Point{}, false
	}
	at := f.search(ctx, 0, tail)
	if at < 0 || f.search(ctx, at, tail) >= 0 { // it occurs twice, and either may be the place
		return wire.Point{}, false
	}
	c, err := f.cursorAt(at, 0)
	return c.Point, err == nil && !c.inside
}

// telling reports whether bytes are enough to be recognized, and do not repeat themselves: a
// program that writes one line again and again makes equal files.
func telling(b []byte) bool {
	const piece = 256
	return len(b) >= leastProof && bytes.Index(b, b[len(b)-piece:]) == len(b)-piece
}

// continues reports whether the file is a longer version of another one: it holds
// all that was sent of that, or all of it if nothing was sent, which is enough to tell.
func (f *follower) continues(g *follower) bool {
	g.mu.Lock()
	sent, tail := g.place.local.Point, g.place.local.tail
	g.mu.Unlock()
	if sent.Offset == 0 {
		var err error // its decoder is its own follower's to choose
		sent.Offset = g.file.size()
		if tail, err = g.file.tailAt(sent.Offset); err != nil {
			return false
		}
		sent.Tail = wire.TailHash(tail)
	}
	return sent.Offset >= leastProof && telling(tail) &&
		headOf(g.file.headSums()).begins(f.file.headSums()) && f.file.holds(sent)
}

// replace starts a new file where the one before it under its name stopped, if it is
// another version of that one; it is none if that one lives on. Nothing was sent of it
// yet. The one before has sent all that it has, but for a last line without an end.
func (f *follower) replace(ctx context.Context, before *follower, livesOn bool) {
	before.mu.Lock()
	sent, tail, stream := before.place.local.Point, before.place.local.tail, before.place.stream
	before.mu.Unlock()
	old := before.file.begins.Load()
	f.mu.Lock()
	if f.path != before.path && f.now == before.path {
		f.path, f.source = before.path, before.source
	}
	f.ousted = nil
	f.mu.Unlock()
	if !f.place.local.unsent || f.place.local.Offset > 0 || sent.Offset < leastProof || old == nil {
		return
	}
	from, longer := sent, f.continues(before)
	found := longer
	if !longer {
		from, found = f.file.moved(ctx, tail)
	}
	switch {
	case found && livesOn:
		f.reportAlike(sent.Offset)
	case found && longer:
		f.goOn(before, from)
	case found:
		f.startAt(from)
		f.t.counts.replaced.Add(1)
		f.t.counts.unsure.Add(1)
		f.t.Log.Warn("file was replaced by another version of itself; sending resumes behind the bytes "+
			"that were sent last, and what changed before them is not sent",
			"path", f.path, "sent", sent.Offset, "from", from.Offset)
	case !livesOn && headOf(old.sums).begins(f.file.headSums()):
		f.replaceAtTrail(stream, sent)
	}
}

// goOn has a longer version of the file before it go on where that one stopped.
func (f *follower) goOn(before *follower, from wire.Point) {
	if f.t.takeOver(f, before, from) {
		f.t.positions.write(false) // at once, as in claim
	} else {
		f.startAt(from)
	}
	before.supersede(f, from.Offset)
	f.t.counts.replaced.Add(1)
	f.t.Log.Info("file was replaced by a longer version of itself; only what is new is sent",
		"path", f.path, "from", from.Offset)
}

// startAt sets where a file of which nothing was sent begins. A stream that is handed over
// meanwhile begins where its handover says.
func (f *follower) startAt(p wire.Point) {
	id, _ := f.t.session.watermark(f.place.stream) // the log that has what is before this place
	f.mu.Lock()
	defer f.mu.Unlock()
	f.place.local.cursor, f.place.local.log, f.place.sent = cursor{Point: p}, id, p
}

// reportAlike counts and reports a file that holds what was sent of the one before it
// under its name, though that one lives on.
func (f *follower) reportAlike(sent int64) {
	f.checks.alike = true
	f.t.counts.unsure.Add(1)
	f.t.Log.Warn("file holds what was sent of the previous file of this name, which still exists; "+
		"all of this one is sent, so lines may be in the log twice", "path", f.path, "sent", sent)
}

// replaceAtTrail starts the file at the last place of the one before it that it holds,
// of those that are remembered.
func (f *follower) replaceAtTrail(stream wire.StreamID, sent wire.Point) {
	if m := f.t.positions.get(stream); m != nil {
		f.startAt(lastHeld(m.Trail, f.file.holds))
	}
	from := f.place.local.Offset
	duplicates := max(0, min(f.file.size(), sent.Offset)-from)
	f.t.counts.unsure.Add(1)
	f.t.counts.doubled.Add(uint64(duplicates))
	f.t.Log.Warn("file begins like the one that it replaced, but does not hold what was sent last; "+
		"lines may be in the log twice",
		"path", f.path, "from", from, "bytes", duplicates)
}

// supersede keeps the follower from ending its last line, if the file that replaced it has
// that line too.
func (f *follower) supersede(by *follower, from int64) {
	rest, other := f.file.at(from, smallBlock), by.file.at(from, smallBlock)
	if len(rest) == 0 || !bytes.HasPrefix(other, rest) {
		return
	}
	f.mu.Lock()
	f.superseded = true
	f.mu.Unlock()
}

// at reads up to n bytes at an offset.
func (f *file) at(offset int64, n int) []byte {
	b := make([]byte, n)
	got, err := f.f.ReadAt(b, offset)
	if err != nil && err != io.EOF {
		return nil
	}
	return b[:got]
}

// awaitRewrite is for a file that no longer holds what was sent of it, and begins as before:
// perhaps its next version is being written over it. It waits until the file holds the place
// again, begins differently, or stops growing.
func (f *follower) awaitRewrite(ctx context.Context, sent wire.Point) {
	old := f.file.begins.Load()
	if old == nil || len(old.sums) < headBits {
		return
	}
	const quiet = 4 // polls
	size, polls := int64(-1), 0
	for end := time.Now().Add(f.t.Settle); time.Now().Before(end) && polls < quiet; polls++ {
		head := f.file.head(headSize)
		if len(head) > 0 && !old.like(beginningOf(head)) || f.file.holds(sent) {
			return
		}
		if now := f.file.size(); now != size {
			size, polls = now, 0
		}
		select {
		case <-f.wake:
		case <-time.After(f.t.Poll):
		case <-ctx.Done():
			return
		}
	}
}

// rewritten looks for the place in a file that was written anew, in place, and does
// not hold what was sent of it: where the bytes are now that were sent last. The zero
// point says that there is none.
func (f *follower) rewritten(ctx context.Context, sent wire.Point, holds func(wire.Point) bool) wire.Point {
	local := &f.place.local
	if !local.wasRead() || local.Point != sent || holds(sent) {
		return wire.Point{}
	}
	at, found := f.file.moved(ctx, local.tail)
	if !found {
		return wire.Point{}
	}
	f.t.counts.replaced.Add(1)
	f.t.counts.unsure.Add(1)
	f.t.Log.Warn("file was rewritten in place; sending resumes behind the bytes that were sent last, "+
		"and what changed before them is not sent", "path", f.path, "sent", sent.Offset, "from", at.Offset)
	return at
}
