package tail

import (
	"bytes"
	"cmp"
	"slices"

	"fanin/internal/wire"
)

// past is what was sent of a file that may be truncated now. What a program writes between a
// copy of its file and the truncation is in neither of the two. If it was sent all the same, the
// copy ends before the place that was sent last.
type past struct {
	names []string // of the file, from the one by which a table knew it to the last: a copy may be named after each
	end   int64    // behind all that was sent
	at    cursor   // a place before that, perhaps with the bytes before it
	trail []wire.Point
	head  head // how the file began, if it had 1 KiB or more
}

// past returns what was sent of the file. The collector may know of more.
func (f *follower) past(remote localState) *past {
	f.t.mu.Lock()
	names := f.names
	f.t.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	p := &past{names: slices.Concat([]string{cmp.Or(f.was, f.label())}, names, []string{f.now}),
		end: max(f.place.sent.Offset, remote.Offset), at: f.place.local.cursor,
		trail: slices.Concat(f.place.local.trail, remote.trail, []wire.Point{f.place.sent, remote.Point})}
	switch b := f.file.begins.Load(); {
	case !f.place.agreed && f.checks.saved.bits == headBits: // the file may have been truncated before it was read
		p.head = f.checks.saved
	case b != nil && len(b.sums) == headBits:
		p.head = headOf(b.sums)
	}
	return p
}

// namesCopy reports whether a path is one that rotation makes of one of the file's.
func (p *past) namesCopy(path string) bool { return rotatedFromAny(p.names, path) }

// within returns the place up to which a file holds what was sent, if it is a copy that ends
// before. Of the bytes behind that place it is not known whether they were sent.
func (p *past) within(f *follower) (at wire.Point, found bool) {
	size := f.file.size()
	if size == 0 || size >= p.end {
		return at, false
	}
	rotated := p.namesCopy(f.path)
	if n := size - (p.at.Offset - int64(len(p.at.tail))); n > 0 && n <= int64(len(p.at.tail)) {
		proven := n >= leastProof && p.head.begins(f.file.headSums()) || n == size && rotated
		if proven && bytes.Equal(f.file.at(size-n, int(n)), p.at.tail[:n]) {
			c, err := f.file.cursorAt(size, 0)
			return c.Point, err == nil
		}
	}
	at = lastHeld(append(p.trail, p.at.Point), f.file.holds)
	return at, at.Offset >= leastProof && p.head.begins(f.file.headSums()) || at.Offset > 0 && rotated
}

// findShorterCopy finds a copy that ends before the place that was sent last, which the agent
// would send as a new file. It returns the state in which the stream goes on there.
func (f *follower) findShorterCopy(p *past, sent localState) (*follower, localState) {
	var at wire.Point
	may := func(c candidate) bool { return f.t.names(c.path) || f.t.follows(c.key) }
	g := f.t.findCopy(f, may, func(g *follower) (found bool) {
		at, found = p.within(g)
		return found
	})
	if g == nil {
		return nil, sent
	}
	if again := g.file.size() - at.Offset; again > 0 {
		f.t.counts.doubled.Add(uint64(again))
		f.t.Log.Warn("file was truncated after it was copied, and the copy lacks the end of what was sent; "+
			"sending resumes at the last place that is known to be in both, so lines may be in the log twice",
			"path", f.path, "copy", g.name(), "from", at.Offset, "bytes", again)
	}
	sent.cursor, sent.epoch = cursor{Point: at, lines: sent.lines}, sent.epoch+1
	sent.trail = slices.DeleteFunc(slices.Clone(sent.trail), func(p wire.Point) bool { return p.Offset >= at.Offset })
	return g, sent
}
