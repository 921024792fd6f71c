package tail

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fanin/internal/wire"
)

// looksLikeCopy reports whether the file begins like another followed file in its directory,
// up to the shorter one's end; or whether such a file shrank, so that its follower is
// looking for the copy. The order matters: a file that is truncated in between is found by
// the second question.
func (t *Tailer) looksLikeCopy(f *follower) bool {
	head := f.file.head(headSize)
	if len(head) == 0 {
		return false
	}
	size := f.file.size()
	if f.original != nil && f.original.beginsLike(f, head, size) {
		return true
	}
	own := beginningOf(head)
	t.mu.Lock()
	beside := t.beside[f.dir]
	t.mu.Unlock()
	for _, g := range beside {
		if g != f && g.mayBegin(own) && g.beginsLike(f, head, size) {
			f.original = g
			return true
		}
	}
	f.original = nil
	return t.shrunkBeside(f.dir)
}

// mayBegin reports whether a file that begins with own may be a copy of g. It compares with
// what was last read of g, which may have grown since, and so saves reading g again.
func (g *follower) mayBegin(own *beginning) bool {
	b := g.file.begins.Load()
	return b == nil || len(b.sums) == 0 || b.like(own) || own.like(b)
}

// beginsLike reports whether f, which has this size and begins with head, may be a copy of g
// in the making, or a longer version that is going to replace it.
func (g *follower) beginsLike(f *follower, head []byte, size int64) bool {
	if g.mayBeCopy() && !f.isYounger(g) || !bytes.Equal(g.file.head(len(head)), head) {
		return false
	}
	return g.file.size() >= size || f.name() != g.name() && f.continues(g)
}

// isYounger reports whether the file, of two that may be copies of each other, is the copy: by its name,
// or because it was found later.
func (f *follower) isYounger(g *follower) bool {
	name, other := filepath.Base(f.name()), filepath.Base(g.name())
	switch {
	case rotatedFrom(other, name):
		return true
	case rotatedFrom(name, other):
		return false
	}
	return f.number > g.number
}

// shrunkBeside reports whether some file in a directory no longer holds what was sent of it,
// and wakes its follower. It looks after the call, never at an earlier moment.
func (t *Tailer) shrunkBeside(dir string) bool {
	return t.shrinking.do(dir, func() (some bool) {
		t.mu.Lock()
		beside := t.beside[dir]
		t.mu.Unlock()
		for _, g := range beside {
			if !g.mayBeCopy() && g.shrunk() { // else it would wake itself, again and again
				g.notify()
				some = true
			}
		}
		return some
	})
}

// startBehindOriginal has a copy of a file that is left as it is begin where it ends: logrotate's
// "copy" and "renamecopy" make one. Its name shows that, and all of it was acknowledged as text of
// its original, which was deleted when the copy was complete, or it has not grown for long.
func (f *follower) startBehindOriginal(late bool) bool {
	g := f.original
	if g == nil || !rotatedFrom(filepath.Base(g.label()), filepath.Base(f.path)) || !late && !g.file.deleted() {
		return false
	}
	end, err := f.file.cursorAt(f.file.size(), 0)
	if err != nil || end.inside || end.Offset < leastProof || end.Offset > g.acknowledged() ||
		!g.file.holds(end.Point) {
		return false
	}
	if !late && end.Offset != g.file.size() { // a copy of the version that replaced it, in the making
		return false
	}
	f.startAt(end.Point)
	f.t.Log.Info("file is a copy of another one; all of it was sent", "path", f.path, "of", g.name())
	return true
}

// provenCopy returns the follower of a file beside f that no longer holds what was sent of it, while f
// does, or a part of it; nil if there is none. Then f is its copy, and the other file's follower will find
// that out, however long the collector or a lack of descriptors delays it.
func (t *Tailer) provenCopy(f *follower) *follower {
	t.mu.Lock()
	beside := t.beside[f.dir]
	t.mu.Unlock()
	i := slices.IndexFunc(beside, func(g *follower) bool {
		sent := g.lastSent()
		if g == f || sent.Offset == 0 || g.file.holds(sent) {
			return false
		}
		_, part := g.past(localState{}).within(f)
		return part || f.file.holds(sent)
	})
	if i < 0 {
		return nil
	}
	return beside[i]
}

// acknowledged returns how much of the file is acknowledged.
func (f *follower) acknowledged() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.place.local.Offset
}

// lastSent returns the end of what was sent of the file, acknowledged or not.
func (f *follower) lastSent() wire.Point {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.place.sent
}

// shrunk reports whether the file no longer holds what was sent of it, acknowledged or not.
func (f *follower) shrunk() bool {
	sent := f.lastSent()
	return sent.Offset > 0 && !f.file.holds(sent)
}

// shrunkAtLook is shrunk at the last look, or soon after it: each of thousands of new files may ask this of each.
func (f *follower) shrunkAtLook() bool {
	look := f.t.looks.Load()
	if known := f.checks.shrunk.Load(); known>>1 == look {
		return known&1 == 1
	}
	known := look << 1
	if f.shrunk() {
		known |= 1
	}
	f.checks.shrunk.Store(known)
	return known&1 == 1
}

// continueInCopy is for a file that no longer holds what was acknowledged of it. A tool that
// copies a file and truncates it leaves what was not sent yet in the copy. The stream then
// continues there, because it names those bytes, and this file begins a new one. Without a
// copy it returns false: the stream continues here, in a new epoch.
func (f *follower) continueInCopy(ctx context.Context, sent localState) bool {
	f.t.counts.truncated.Add(1)
	if sent.Offset == 0 || f.resumedAfter(sent) {
		return false
	}
	may := func(c candidate) bool { return c.info.Size() >= sent.Offset && !f.isOlder(c.info.ModTime()) }
	copied := f.t.findCopy(f, may, func(g *follower) bool { return g.file.holds(sent.Point) })
	p := f.past(sent)
	if copied == nil {
		copied, sent = f.findShorterCopy(p, sent)
	}
	if copied == nil || !f.t.handOver(ctx, f, copied, sent) {
		f.t.Log.Info("file was truncated; sending resumes at the last unchanged place, or at its start",
			"path", f.path, "sent", sent.Offset)
		f.lose(lostText{p, time.Now(), f.place.stream, sent.epoch})
		return false
	}
	f.t.Log.Info("file was copied and truncated; what was not sent is read from the copy",
		"path", f.path, "copy", copied.name(), "sent", sent.Offset)
	f.t.mu.Lock()
	if g := f.t.followers[copied.key]; g != nil { // it may have ended: the agent stops
		f.earlier = append(f.earlier, g) // what the copy has is older
	}
	f.t.mu.Unlock()
	f.reading.final = false
	return true
}

// resumedAfter reports whether it was decided that the stream goes on here in a new epoch. An open that failed may have
// arrived: the collector may have that epoch, in which the stream cannot go on in a copy that is found since.
func (f *follower) resumedAfter(sent localState) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	x := &f.former
	return x.past != nil && x.stream == f.place.stream && x.epoch == sent.epoch
}

// isOlder reports whether a file that was written to last at some time is older than the text that was sent
// of this one, and so no copy of it.
func (f *follower) isOlder(modified time.Time) bool {
	f.mu.Lock()
	since := f.sentSince
	f.mu.Unlock()
	return wasBefore(modified, since)
}

// wasBefore reports whether a file was written to last before some time. Some tools keep whole seconds only.
func wasBefore(modified, at time.Time) bool {
	if modified.Nanosecond() == 0 {
		at = at.Truncate(time.Second)
	}
	return modified.Before(at)
}

// list lists the files of a directory that may be copies.
func list(dir string) (all []candidate) {
	found := newest[candidate]{info: func(c candidate) fs.FileInfo { return c.info }}
	eachIn(dir, func(e fs.DirEntry) bool { // on an error there are none
		path := filepath.Join(dir, e.Name())
		if fi, err := os.Stat(path); !Packed(path) && err == nil && fi.Mode().IsRegular() {
			found.add(candidate{path: path, key: keyOf(fi), info: fi})
		}
		return true
	})
	found.trim()
	slices.SortFunc(found.list, func(c, d candidate) int { return strings.Compare(c.path, d.path) })
	return found.list
}

// findCopy finds the file in f's directory that holds what f held: one that is not followed,
// or whose follower still waits because it may be a copy. Only files that may be one are opened.
func (t *Tailer) findCopy(f *follower, may func(candidate) bool, holds func(*follower) bool) *follower {
	all := t.listings.do(f.dir, func() []candidate { return t.maybeCopies(list(f.dir)) })
	base := filepath.Base(f.path)
	for _, alike := range [...]bool{true, false} { // first those whose names begin like f's, as most copies' do
		for _, c := range all {
			if c.key == f.key || strings.HasPrefix(filepath.Base(c.path), base) != alike {
				continue
			}
			if g := t.copyAt(f, c, may, holds); g != nil {
				return g
			}
		}
	}
	return t.openCopy(f, holds)
}

// maybeCopies leaves out the files that are followed as what they are: such a file never becomes
// one that may be a copy. Almost all are left out, once for all that search at a time.
func (t *Tailer) maybeCopies(all []candidate) []candidate {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.DeleteFunc(all, func(c candidate) bool {
		g := t.followers[c.key]
		return g != nil && !g.mayBeCopy()
	})
}

// copyAt returns the follower of a candidate if that is the copy, nil if it is not.
func (t *Tailer) copyAt(f *follower, c candidate, may func(candidate) bool, holds func(*follower) bool) *follower {
	t.mu.Lock()
	g := t.followers[c.key]
	t.mu.Unlock()
	own := g == nil
	if !own && !g.mayBeCopy() || own && t.wasLetGo(c.info) { // first what almost all files are
		return nil
	}
	if !may(c) {
		return nil
	}
	if own {
		var err error
		c.table = t.tableOf(f.label())
		if g, err = t.open(c); err != nil {
			return nil
		}
		g.visible, g.hidden, g.maybeCopy, g.source = t.names(c.path), time.Now(), true, f.source
		if !g.visible {
			g.origin = f.label() // where the next start looks for it
		}
	}
	if g.mayBeCopy() && holds(g) {
		return g
	}
	if own {
		g.file.close()
	}
	return nil
}

// openCopy finds the copy among the files that are open. It has no name any more when it was
// compressed before f's follower saw the truncation.
func (t *Tailer) openCopy(f *follower, holds func(*follower) bool) *follower {
	t.mu.Lock()
	beside := t.beside[f.dir]
	t.mu.Unlock()
	i := slices.IndexFunc(beside, func(g *follower) bool { return g != f && g.mayBeCopy() && holds(g) })
	if i < 0 {
		return nil
	}
	return beside[i]
}
