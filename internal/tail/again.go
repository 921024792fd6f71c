package tail

import (
	"cmp"
	"math"
	"path/filepath"
	"slices"
	"time"

	"fanin/internal/wire"
)

// lostText is what was sent of a file that was truncated, where no copy of it was found.
type lostText struct {
	*past
	seen   time.Time // when the truncation was
	stream wire.StreamID
	epoch  uint32 // of the stream in that text
}

// savedText is what a saved position says of a lost text: enough to tell which files may be copies of it.
type savedText struct {
	End      int64  `json:"end"`           // behind all that was sent of it
	Seen     int64  `json:"seen"`          // when it was seen that it is lost, in ns
	Path     string `json:"path"`          // of its file, by which a table knew it ...
	Now      string `json:"now,omitempty"` // ... and as that was called last, if otherwise
	HeadBits uint8  `json:"head_bits,omitempty"`
	Head     uint64 `json:"head,omitempty"` // how it began, as in positionJSON
}

// saved returns what is saved of a lost text, nothing if there is none.
func (l *lostText) saved() savedText {
	if l.past == nil {
		return savedText{}
	}
	s := savedText{End: l.end, Seen: l.seen.UnixNano(), Path: l.names[0]}
	s.HeadBits, s.Head = l.head.bits, uint64(l.head.sum)
	if last := l.names[len(l.names)-1]; last != s.Path {
		s.Now = last
	}
	return s
}

// lost is saved read back. In which stream and epoch the text was is not known: that is decided anew at a start.
func (s *savedText) lost() lostText {
	if s.End == 0 {
		return lostText{}
	}
	return lostText{seen: time.Unix(0, s.Seen), past: &past{names: []string{s.Path, cmp.Or(s.Now, s.Path)}, end: s.End,
		head: head{s.HeadBits, wire.Hash(s.Head)}}}
}

// formerOf returns the text that was lost before the one in which a known stream goes on in this file. If the saved
// position is of an earlier epoch than the collector's, the process was killed before it saved what it lost.
func (f *follower) formerOf(m *savedPosition) lostText {
	was := f.t.positions.get(m.Stream)
	if was == nil || was.Epoch >= m.Epoch || was.Offset > 0 && f.file.holds(was.Point) {
		return m.Former.lost()
	}
	p := &past{names: []string{was.path}, end: math.MaxInt64} // it is not known how much was sent after that
	if was.Offset > 0 {
		p.head = was.head
	}
	return lostText{seen: time.Now(), past: p}
}

// reportAgain reports a new file of which all is sent, though some of it may be in the log: nothing
// proves that it is a copy of another file, and nothing excludes it.
func (f *follower) reportAgain() {
	size := f.file.size()
	if size == 0 || f.place.local.Offset > 0 || f.checks.alike {
		return
	}
	f.t.mu.Lock()
	beside := f.t.beside[f.dir]
	f.t.mu.Unlock()
	for _, g := range beside {
		if g == f {
			continue
		}
		if again := g.mayHaveSent(f, size); again > 0 {
			f.countAgain(g.name(), again)
			return
		}
	}
	if m := f.alike; m != nil && m.head.mayBegin(f.file.headSums()) {
		f.countAgain(m.path, min(size, m.Offset))
		return
	}
	f.mu.Lock()
	lostOf := f.lostOf
	f.mu.Unlock()
	switch {
	case lostOf != "":
		f.countAgain(lostOf, size)
	case f.origin != "":
		f.reportRotated(size)
	}
}

// lose notes that a text of the file is lost, and which files wait now that may be copies of it: the next text may be
// lost before they are sent.
func (f *follower) lose(text lostText) {
	f.mu.Lock()
	f.former = text
	f.mu.Unlock()
	name := f.name()
	f.t.mu.Lock()
	beside := f.t.beside[f.dir]
	f.t.mu.Unlock()
	for _, g := range beside {
		if g.mayBeCopy() && f.mayHaveSent(g, g.file.size()) > 0 {
			g.mu.Lock()
			g.lostOf = name
			stream := g.place.stream
			g.mu.Unlock()
			f.t.positions.amend(stream, func(m *savedPosition) { m.LostOf = name }) // it may end before it is begun
		}
	}
}

// reportRotated is reportAgain for a file that was rotated before it was seen. Its text, not its name, shows which file
// it is a copy of: that may have been known by an earlier name.
func (f *follower) reportRotated(size int64) {
	var alike *savedPosition
	for _, m := range f.t.known() {
		more := alike == nil || m.Offset > alike.Offset
		if more && filepath.Dir(m.path) == f.dir && (f.has(m) || f.mayBePartOf(m)) {
			alike = m
		}
	}
	if alike != nil {
		f.countAgain(alike.path, min(size, alike.Offset))
	}
}

// noteLostTexts notes, at a start without saved positions, which new files may be copies of texts that were lost before
// that: with the positions it is lost how much of those was sent.
func (t *Tailer) noteLostTexts(fresh []*follower) {
	if t.looked || !t.lostState() {
		return
	}
	lost := make(map[string]bool)
	for _, m := range t.registered() {
		lost[m.path] = lost[m.path] || m.Epoch > 1
	}
	for _, f := range fresh {
		all := liveNames(f.path)
		if i := slices.IndexFunc(all, func(path string) bool { return lost[path] }); i >= 0 && f.place.stream.IsZero() {
			f.lostOf = all[i]
		}
	}
}

// lostState reports whether the process began without saved positions, though it is not the very first one.
func (t *Tailer) lostState() bool { return !t.first && t.positions.written.IsZero() }

func (f *follower) countAgain(of string, bytes int64) {
	f.checks.alike = true
	f.t.counts.unsure.Add(1)
	f.t.counts.doubled.Add(uint64(bytes))
	f.t.Log.Warn("file may be a copy of text that was sent of another one, which is not certain; "+
		"all of it is sent, so lines may be in the log twice", "path", f.path, "of", of, "bytes", bytes)
}

// mayHaveSent returns how much of another file, which has this size, may have been sent as text of this
// one.
func (f *follower) mayHaveSent(g *follower, size int64) int64 {
	if size >= leastProof && f.file.sharesText(g.file, size) {
		return min(f.file.size(), size)
	}
	f.mu.Lock()
	lost := f.former
	f.mu.Unlock()
	if lost.past == nil && f.shrunkAtLook() { // its follower does not know yet what the collector has
		lost = lostText{past: f.past(localState{}), seen: time.Now()}
	}
	if lost.past == nil || size >= lost.end || g.file.modified(lost.seen).After(lost.seen) {
		return 0
	}
	if lost.namesCopy(g.path) || lost.head.bits > 0 && lost.head.begins(g.file.headSums()) {
		return size
	}
	return 0
}

// sharesText reports whether two files, of which the other one has this size, begin alike, and have the
// same bytes where the shorter one ends.
func (f *file) sharesText(g *file, size int64) bool {
	b := f.begins.Load() // first what costs nothing: there may be thousands of files
	if b == nil || !headOf(b.sums).begins(g.headSums()) {
		return false
	}
	if own := f.headSums(); len(own) < headBits || !headOf(own).begins(g.headSums()) { // it may have grown since
		return false
	}
	end, err := f.cursorAt(min(f.size(), size), 0)
	return err == nil && g.still(end)
}
