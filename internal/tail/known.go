package tail

import (
	"cmp"
	"os"
	"slices"

	"fanin/internal/disk"
	"fanin/internal/wire"
)

// known lists the streams that marks and the collector know, and that have no follower.
func (t *Tailer) known() map[wire.StreamID]*mark {
	known := t.marks.all()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.session.mergeInto(known)
	for id := range t.claims {
		delete(known, id)
	}
	return known
}

// merge is what both sides together know of a stream. A mark is a little older
// than what was acked when its process was killed; then the collector knows better.
func merge(m *mark, s *wire.StreamState, log logID) *mark {
	switch {
	case m == nil:
		m = &mark{Stream: s.Stream, Epoch: s.Epoch, Point: s.Point, Trail: s.Trail, Log: log}
		m.identity, _ = parseIdentity(s.Identity)
	case s.Epoch > m.Epoch || s.Epoch == m.Epoch && s.Offset > m.Offset:
		newer := *m // marks are replaced, never changed
		newer.Epoch, newer.Point, newer.Trail, newer.Log = s.Epoch, s.Point, s.Trail, log
		m = &newer
	}
	return m
}

// registry is what is known of streams without a follower, by all that may lead
// to one: so that thousands of new files find theirs among thousands.
type registry struct {
	t       *Tailer
	free    map[wire.StreamID]*mark
	byInode map[uint64][]*mark
	byHead  map[head][]*mark
	byPath  map[string][]*mark
	present map[uint64][]*Follower // files that are there, by inode
	search  *search                // for those that have another name
}

func (t *Tailer) newRegistry(fresh []*Follower) *registry {
	r := &registry{t: t, free: t.known(), byInode: make(map[uint64][]*mark), byHead: make(map[head][]*mark),
		byPath: make(map[string][]*mark), present: make(map[uint64][]*Follower), search: t.newSearch()}
	if len(r.free) == 0 {
		return r
	}
	for _, m := range r.free {
		r.byInode[m.inode] = append(r.byInode[m.inode], m)
		r.byHead[m.head] = append(r.byHead[m.head], m)
		r.byPath[m.path] = append(r.byPath[m.path], m)
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

// identify finds the streams that new files belong to: by what they are first,
// and then, for those that no state knows, by what is in them.
func (t *Tailer) identify(fresh []*Follower) {
	r := t.newRegistry(fresh)
	defer r.search.close()
	for _, fits := range []func(*Follower) []*mark{r.sameFile, r.sameContent, r.rewritten} {
		r.match(fresh, fits)
	}
	for _, f := range fresh {
		if f.place.stream.IsZero() {
			f.maybeCopy = !t.first || t.looked
		}
	}
}

// pair is a file and a mark that fits it, and how well.
type pair struct {
	f    *Follower
	m    *mark
	rank int
}

// match gives marks to files that have none, the best pairs first: a mark whose
// place the file still holds before one that it does not; then the device and
// the path break ties, and at last the furthest mark.
func (r *registry) match(fresh []*Follower, fits func(*Follower) []*mark) {
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
			p.f.take(p.m)
		}
	}
}

func (f *Follower) rank(m *mark) (rank int) {
	for _, good := range []bool{f.file.holds(m.Point), m.device == f.key.device, m.path == f.path} {
		rank *= 2
		if good {
			rank++
		}
	}
	return rank
}

// filter keeps the marks that are free and fit.
func (r *registry) filter(list []*mark, fits func(*mark) bool) (found []*mark) {
	for _, m := range list {
		if r.free[m.Stream] != nil && fits(m) {
			found = append(found, m)
		}
	}
	return found
}

func (r *registry) sameFile(f *Follower) []*mark {
	return r.filter(r.byInode[f.key.inode], f.sameFile) // a handle is no other where the number is
}

// sameContent finds marks that the content of a new file stands for: their file
// is gone, or was truncated after a copy. Little content of a file that is gone
// proves little: many files begin alike. Content proves nothing of a file that
// lives on.
func (r *registry) sameContent(f *Follower) (found []*mark) {
	fits := func(m *mark) bool {
		switch {
		case !f.has(m):
			return false
		case r.displaced(m):
			return true
		case m.Offset >= leastProof && r.gone(m):
			return true
		case m.Offset >= leastProof && m.path == f.path:
			f.reportAlike(m.Offset)
		}
		return false
	}
	sums := f.file.headSums()
	for n := range len(sums) + 1 {
		found = append(found, r.filter(r.byHead[headOf(sums[:n])], fits)...)
	}
	return found
}

// leastProof is how much of equal content proves that one file is another one's copy.
const leastProof = 1 << 10

// rewritten finds the mark of the file that had this one's path, if this one
// holds an earlier place of it: an editor put another version in its place.
func (r *registry) rewritten(f *Follower) []*mark {
	return r.filter(r.byPath[f.path], func(m *mark) bool {
		return lastHeld(m.Trail, f.file.holds).Offset >= leastProof && m.head.begins(f.file.headSums()) && r.gone(m)
	})
}

// displaced reports whether the file that a mark is of is there and no longer
// holds what was sent of it.
func (r *registry) displaced(m *mark) bool {
	return slices.ContainsFunc(r.present[m.inode], func(f *Follower) bool { return f.sameFile(m) && !f.file.holds(m.Point) })
}

// gone reports whether the file that a mark is of is not where it was, nor beside
// that under a name that is not a backup's.
func (r *registry) gone(m *mark) bool {
	if slices.ContainsFunc(r.present[m.inode], func(f *Follower) bool { return f.sameFile(m) }) {
		return false
	}
	if x := r.search.same(m); x != nil && x.path != m.path {
		return x.path == m.path+backupSuffix
	}
	fi, err := os.Stat(m.path)
	if err != nil || disk.Inode(fi) != m.inode {
		return true
	}
	if slices.ContainsFunc(r.present[m.inode], func(f *Follower) bool { return f.name() == m.path }) {
		return true // another file has its number
	}
	f, err := r.t.open(candidate{m.path, &Table{}, keyOf(fi), fi})
	if err != nil {
		return false // nothing can be said of it
	}
	defer f.file.close()
	return !f.sameFile(m)
}

// take makes a mark's stream this follower's.
func (f *Follower) take(m *mark) {
	f.place.start(m.Stream, localState{cursor: cursor{Point: m.Point, lines: m.Lines}, epoch: m.Epoch, trail: m.Trail,
		log: m.Log, unsent: m.Start})
	if _, w := f.t.session.watermark(m.Stream); w != nil && !f.place.local.isAheadOf(w) {
		f.place.sent = w.Point // the last ack never came
	}
	f.t.mu.Lock()
	f.t.claims[m.Stream] = f
	f.t.mu.Unlock()
}
