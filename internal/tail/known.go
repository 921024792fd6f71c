package tail

import (
	"bytes"
	"cmp"
	"os"
	"slices"
	"time"

	"fanin/internal/disk"
	"fanin/internal/wire"
)

// known returns the streams that the saved positions or the collector know and that have no follower.
func (t *Tailer) known() map[wire.StreamID]*savedPosition {
	known := t.positions.all()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.session.mergeInto(known)
	for id := range t.claims {
		delete(known, id)
	}
	return known
}

// merge combines what both sides know of a stream. When a process is killed, its saved position is a
// little older than what was acknowledged; then the collector knows better.
func merge(m *savedPosition, s *wire.StreamState, log logID) *savedPosition {
	switch {
	case m == nil:
		m = &savedPosition{Stream: s.Stream, Epoch: s.Epoch, Point: s.Point, Trail: s.Trail, Log: log}
		m.identity, _ = parseIdentity(s.Identity)
	case s.Epoch > m.Epoch || s.Epoch == m.Epoch && s.Offset > m.Offset:
		newer := *m // saved positions are replaced, never modified
		newer.Epoch, newer.Point, newer.Trail, newer.Log = s.Epoch, s.Point, s.Trail, log
		switch id, err := parseIdentity(s.Identity); {
		case err != nil:
		case s.Epoch > m.Epoch:
			newer.identity = id // the file begins otherwise since the saved position
		case m.Offset == 0:
			newer.head = id.head // likewise, perhaps
		}
		m = &newer
	}
	if id, err := parseIdentity(s.Identity); err == nil && id.inode == m.inode && bytes.Equal(id.handle, m.handle) {
		newer := *m
		newer.told, newer.Copy = &id, false // it was opened
		m = &newer
	}
	return m
}

// registry indexes the known streams without a follower by everything that may identify
// their files, so that thousands of new files find theirs among thousands.
type registry struct {
	t       *Tailer
	free    map[wire.StreamID]*savedPosition
	byInode map[uint64][]*savedPosition
	byHead  map[head][]*savedPosition
	byPath  map[string][]*savedPosition
	present map[uint64][]*follower // files that exist, by inode
	search  *search                // for files that have another name
}

func (t *Tailer) newRegistry(fresh []*follower) *registry {
	r := &registry{t: t, free: t.known(),
		byInode: make(map[uint64][]*savedPosition), byHead: make(map[head][]*savedPosition),
		byPath: make(map[string][]*savedPosition), present: make(map[uint64][]*follower), search: t.newSearch()}
	if len(r.free) == 0 {
		return r
	}
	for _, m := range r.free {
		r.byInode[m.inode] = append(r.byInode[m.inode], m)
		r.byHead[m.head] = append(r.byHead[m.head], m)
		for _, path := range m.labels() {
			r.byPath[path] = append(r.byPath[path], m)
		}
	}
	for _, f := range fresh {
		r.present[f.key.inode] = append(r.present[f.key.inode], f)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range t.followers {
		r.present[f.key.inode] = append(r.present[f.key.inode], f)
	}
	return r
}

// identify finds the streams that new files belong to: first by inode and handle, and then,
// for the rest, by content. At last come those of which the last process knew no more.
func (t *Tailer) identify(fresh []*follower) {
	r := t.newRegistry(fresh)
	defer r.search.close()
	for _, fits := range []func(*follower) []*savedPosition{r.sameFile, r.sameContent, r.rewritten, r.undecided} {
		r.match(fresh, fits)
	}
	for _, f := range fresh {
		if f.place.stream.IsZero() && !t.goesOn(f) {
			f.maybeCopy = !t.first || t.looked
		}
	}
	t.noteLostTexts(fresh)
}

// pair is a file and a saved position that fits it; a higher rank fits better.
type pair struct {
	f    *follower
	m    *savedPosition
	rank int
}

// match assigns saved positions to files that have none, the best pairs first: one whose
// place the file still holds precedes one whose place it does not; then the device, the
// path and at last the furthest saved position break ties.
func (r *registry) match(fresh []*follower, fits func(*follower) []*savedPosition) {
	if len(r.free) == 0 {
		return
	}
	var pairs []pair
	for _, f := range fresh {
		if !f.place.stream.IsZero() {
			continue
		}
		for _, m := range fits(f) {
			pairs = append(pairs, pair{f, m, f.rank(m)})
		}
	}
	slices.SortStableFunc(pairs, func(a, b pair) int {
		return cmp.Or(cmp.Compare(b.rank, a.rank), cmp.Compare(b.m.Offset, a.m.Offset))
	})
	for _, p := range pairs {
		if p.f.place.stream.IsZero() && r.free[p.m.Stream] != nil {
			delete(r.free, p.m.Stream)
			p.f.assign(p.m)
		}
	}
}

func (f *follower) rank(m *savedPosition) (rank int) {
	for _, good := range []bool{f.file.holds(m.Point), m.device == f.key.device, m.path == f.path} {
		rank *= 2
		if good {
			rank++
		}
	}
	return rank
}

// filter keeps the saved positions that are free and fit.
func (r *registry) filter(list []*savedPosition, fits func(*savedPosition) bool) (found []*savedPosition) {
	for _, m := range list {
		if r.free[m.Stream] != nil && fits(m) {
			found = append(found, m)
		}
	}
	return found
}

func (r *registry) sameFile(f *follower) []*savedPosition {
	same := func(m *savedPosition) bool { return !m.Copy && f.sameFile(m) }
	return r.filter(r.byInode[f.key.inode], same) // files with equal handles have equal inodes
}

// undecided finds the saved position of a file of which nothing was sent, since it may be a copy.
func (r *registry) undecided(f *follower) []*savedPosition {
	return r.filter(r.byInode[f.key.inode], func(m *savedPosition) bool { return m.Copy && f.sameFile(m) })
}

// sameContent finds saved positions whose content a new file has: their file is gone, or was truncated
// after it was copied. Little content of a file that is gone proves little: many files begin
// alike. Content proves nothing about a file that still exists.
func (r *registry) sameContent(f *follower) (found []*savedPosition) {
	fits := func(m *savedPosition) bool {
		switch {
		case !f.has(m):
			if f.mayBePartOf(m) && r.gone(m) {
				f.alike = m
			}
			return false
		case r.displaced(m):
			return true
		case m.Offset >= leastProof && r.gone(m):
			return true
		case m.Offset >= leastProof && m.path == f.path:
			f.reportAlike(m.Offset)
		case m.Offset < leastProof && (f.alike == nil || m.Offset > f.alike.Offset) && r.gone(m):
			f.alike = m
		}
		return false
	}
	sums := f.file.headSums()
	for n := range len(sums) + 1 {
		found = append(found, r.filter(r.byHead[headOf(sums[:n])], fits)...)
	}
	r.longerThan(f, fits)
	return found
}

// longerThan calls fits with the saved positions whose files have more text than can be compared with this one's,
// and may be what it is a rotated copy of, by its name.
func (r *registry) longerThan(f *follower, fits func(*savedPosition) bool) {
	sums := f.file.headSums()
	if len(sums) == headBits {
		return
	}
	for _, live := range liveNames(f.path) {
		r.filter(r.byPath[live], func(m *savedPosition) bool { return m.head.exceeds(sums) && fits(m) })
	}
}

// mayBePartOf reports whether the file may be a copy of what was sent of a saved position's file, without the
// end of that: by its name, and by how it begins. If it is too short to be compared, its name alone decides.
func (f *follower) mayBePartOf(m *savedPosition) bool {
	size := f.file.size()
	return f.alike == nil && size > 0 && size < m.Offset && m.head.bits > 0 && m.head.mayBegin(f.file.headSums()) &&
		m.namesCopy(f.path)
}

// leastProof is how many equal bytes prove that one file is another one's copy.
const leastProof = 1 << 10

// rewritten finds the saved position of the file that had this one's path, if this one holds an earlier
// place of it: an editor replaced it by another version.
func (r *registry) rewritten(f *follower) []*savedPosition {
	return r.filter(r.byPath[f.path], func(m *savedPosition) bool {
		return lastHeld(m.Trail, f.file.holds).Offset >= leastProof && m.head.begins(f.file.headSums()) && r.gone(m)
	})
}

// displaced reports whether a saved position's file exists and no longer holds what was sent of it.
func (r *registry) displaced(m *savedPosition) bool {
	lacks := func(f *follower) bool { return f.sameFile(m) && !f.file.holds(m.Point) }
	if slices.ContainsFunc(r.present[m.inode], lacks) {
		return true
	}
	x := r.search.same(m) // no table names it
	return x != nil && r.search.isAnothers(x, m, r.free)
}

// gone reports whether a saved position's file is neither where it was, nor in the same directory under
// another name, unless that is a backup's.
func (r *registry) gone(m *savedPosition) bool {
	if slices.ContainsFunc(r.present[m.inode], func(f *follower) bool { return f.sameFile(m) }) {
		return false
	}
	if x := r.search.same(m); x != nil && x.path != m.path {
		return x.path == m.path+backupSuffix
	}
	fi, err := os.Stat(m.path)
	if err != nil || disk.Inode(fi) != m.inode {
		return true
	}
	if slices.ContainsFunc(r.present[m.inode], func(f *follower) bool { return f.name() == m.path }) {
		return true // another file has its inode
	}
	f, err := r.t.open(candidate{path: m.path, table: &Table{}, key: keyOf(fi), info: fi})
	if err != nil {
		return false // nothing is known of it
	}
	defer f.file.close()
	return !f.sameFile(m)
}

// assign makes a saved position's stream this follower's.
func (f *follower) assign(m *savedPosition) {
	f.place.start(m.Stream, localState{cursor: cursor{Point: m.Point, lines: m.Lines}, epoch: m.Epoch,
		trail: slices.Clone(m.Trail), log: m.Log, unsent: m.Start || m.Copy})
	f.maybeCopy, f.lostOf = m.Copy, m.LostOf
	if _, w := f.t.session.watermark(m.Stream); w != nil && !f.place.local.isAheadOf(w) {
		f.place.sent = w.Point // the last acknowledgement was lost
	}
	f.was, f.checks.saved, f.former = m.path, m.head, f.formerOf(m)
	if m.Seen == 0 { // else the place is not in the text that was seen, or the collector knows one that may not be
		f.sentSince = timeOf(m.Begun, time.Time{})
	}
	f.t.mu.Lock()
	f.t.claims[m.Stream] = f
	f.t.mu.Unlock()
}
