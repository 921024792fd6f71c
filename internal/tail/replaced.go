package tail

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"fanin/internal/disk"
	"fanin/internal/wire"
)

// An editor, sed -i or rsync puts another version of a file in its place, as a
// new file or by writing the old one anew. What both have in common was sent.
// Little in common proves nothing, since many files begin alike: from leastProof
// bytes on, the version goes on behind the bytes that were sent last, wherever
// they stand in it now. All this holds only if the old file is gone: one that
// lives on was rotated, and a program that writes the same lines each night makes
// a new file that begins with all of the old one.

// backupSuffix is what editors and rsync --backup add to the name of the version
// that they replace.
const backupSuffix = "~"

// livesOn reports whether a file that lost its name has another one, which is not
// that of a backup that no table names, or left a rotated file that is as new as it: what has its name
// now is no version of it then, whatever it holds.
func (f *Follower) livesOn() bool {
	f.mu.Lock()
	path, label, modified := f.path, f.label(), f.modified
	f.mu.Unlock()
	if name := f.nameNow(path, label); name != "" {
		return name != label+backupSuffix || f.t.names(name)
	}
	if fi, err := f.file.f.Stat(); err == nil && disk.Links(fi) > 0 {
		return true // in another directory
	}
	written := f.file.modified(modified).Truncate(time.Second) // some that compress keep no more of it
	entries, _ := os.ReadDir(f.dir)                            // none: then there is none
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		if !rotatedFrom(filepath.Base(label), e.Name()) {
			return false
		}
		fi, err := e.Info()
		return err == nil && !fi.ModTime().Before(written)
	})
}

// search is the place behind the first occurrence of text at or behind from, -1
// if there is none.
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

// moved is the place in the file that stands for an earlier version's place with
// these bytes before it.
func (f *file) moved(ctx context.Context, tail []byte) (wire.Point, bool) {
	if !telling(tail) {
		return wire.Point{}, false
	}
	at := f.search(ctx, 0, tail)
	if at < 0 || f.search(ctx, at, tail) >= 0 { // there twice: which of the two it is cannot be told
		return wire.Point{}, false
	}
	c, err := f.cursorAt(at, 0)
	return c.Point, err == nil && !c.inside
}

// telling reports whether bytes are enough to know them again, and do not repeat
// themselves: a program that writes one line over and over makes equal files.
func telling(b []byte) bool {
	const piece = 256
	return len(b) >= leastProof && bytes.Index(b, b[len(b)-piece:]) == len(b)-piece
}

// continues reports whether the file is a longer version of another one: it holds
// all that was sent of that, which is enough to tell.
func (f *Follower) continues(g *Follower) bool {
	g.mu.Lock()
	acked, tail := g.acked, g.tail
	g.mu.Unlock()
	b := g.begins.Load()
	return b != nil && acked.Offset >= leastProof && telling(tail) && headOf(b.sums).begins(f.headSums()) && f.file.holds(acked)
}

// tookPlace is the file whose name this one was given while it was watched, nil if
// there is none: rsync and others write a new version under a name that a table
// may name too.
func (f *Follower) tookPlace() *Follower {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ousted
}

// replace begins a new file where the one before it under its name stands, if it
// is another version of that one; it is none if that one lives on. Nothing was sent
// of it yet. The one before has sent all that it has, but for a last line without
// an end.
func (f *Follower) replace(ctx context.Context, before *Follower, livesOn bool) {
	before.mu.Lock()
	acked, tail, stream := before.acked, before.tail, before.stream
	before.mu.Unlock()
	old := before.begins.Load()
	f.mu.Lock()
	if f.path != before.path && f.now == before.path {
		f.path, f.source = before.path, before.source
	}
	f.ousted = nil
	f.mu.Unlock()
	if !f.belief.fresh || f.belief.Offset > 0 || acked.Offset < leastProof || old == nil {
		return
	}
	from, longer := acked, f.continues(before)
	found := longer
	if !longer {
		from, found = f.file.moved(ctx, tail)
	}
	switch {
	case found && livesOn:
		f.t.counts.unsure.Add(1)
		f.t.Log.Warn("file holds what was sent of the one that had its name before; that one lives on, so all of this one is sent, and lines may be in the log twice",
			"path", f.path, "sent", acked.Offset)
	case found && longer:
		f.belief.Point = from
		before.supersede(f, acked.Offset)
		f.t.counts.replaced.Add(1)
		f.t.Log.Info("file was replaced by a longer version of itself; only what is new is sent", "path", f.path, "from", acked.Offset)
	case found:
		f.belief.Point = from
		f.t.counts.replaced.Add(1)
		f.t.counts.unsure.Add(1)
		f.t.Log.Warn("file was replaced by another version of itself; it goes on behind what was sent last, and what was changed before that is not sent",
			"path", f.path, "sent", acked.Offset, "from", from.Offset)
	case !livesOn && headOf(old.sums).begins(f.headSums()):
		f.replaceAtTrail(stream, acked)
	}
}

// replaceAtTrail begins the file at the last place of the one before it that it
// holds, of those that are remembered.
func (f *Follower) replaceAtTrail(stream wire.StreamID, acked wire.Point) {
	if m := f.t.marks.get(stream); m != nil {
		f.belief.Point = lastHeld(m.Trail, f.file.holds)
	}
	doubt := max(0, min(f.file.size(), acked.Offset)-f.belief.Offset)
	f.t.counts.unsure.Add(1)
	f.t.counts.doubled.Add(uint64(doubt))
	f.t.Log.Warn("file begins like the one that it replaced, but does not hold what was sent last; lines may be in the log twice",
		"path", f.path, "from", f.belief.Offset, "bytes", doubt)
}

// supersede keeps the follower from ending its last line, if the file that took
// its place has that line too.
func (f *Follower) supersede(by *Follower, from int64) {
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

// awaitRewrite is for a file that no longer holds what was sent of it, and begins
// as it did: perhaps its next version is being written over it. It waits until the
// file holds the place again, or is another file, or grows no more.
func (f *Follower) awaitRewrite(ctx context.Context, acked wire.Point) {
	old := f.begins.Load()
	if old == nil || len(old.sums) < headBits {
		return
	}
	const quiet = 4 // polls
	size, polls := int64(-1), 0
	for end := time.Now().Add(f.t.Settle); time.Now().Before(end) && polls < quiet; polls++ {
		head := f.file.head(headSize)
		if len(head) > 0 && !old.like(beginningOf(head)) || f.file.holds(acked) {
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

// rewritten looks for the place in a file that was written anew, in place, and
// does not hold what was sent of it: where the bytes stand now that were sent last.
func (f *Follower) rewritten(ctx context.Context, acked wire.Point, holds func(wire.Point) bool) (at wire.Point, found bool) {
	if f.pos.Point != acked || holds(acked) {
		return at, false
	}
	if at, found = f.file.moved(ctx, f.pos.tail); found {
		f.t.counts.replaced.Add(1)
		f.t.counts.unsure.Add(1)
		f.t.Log.Warn("file was rewritten in place; it goes on behind what was sent last, and what was changed before that is not sent",
			"path", f.path, "sent", acked.Offset, "from", at.Offset)
	}
	return at, found
}
