package tail

import (
	"bytes"
	"context"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// rotatedName is what rotation appends to a name, or inserts into it.
var rotatedName = regexp.MustCompile(`^[._-]?(old|[0-9][0-9TZ._:-]*)$`)

// rotatedFrom reports whether a file's name is one that rotation makes from another name:
// app.log.1, app.log-20261122, app-2026-11-22.log, app.1.log, each perhaps compressed.
func rotatedFrom(live, name string) bool {
	ext := filepath.Ext(name)
	if slices.Contains(packed, ext) {
		name = strings.TrimSuffix(name, ext)
	}
	if rest, ok := strings.CutPrefix(name, live); ok {
		return rotatedName.MatchString(rest)
	}
	stem, suffix := strings.TrimSuffix(live, filepath.Ext(live)), filepath.Ext(live)
	rest, ok := strings.CutPrefix(name, stem)
	if !ok || suffix == "" {
		return false
	}
	rest, ok = strings.CutSuffix(rest, suffix)
	return ok && rotatedName.MatchString(rest)
}

// rotatedFromAny reports whether a path is one that rotation makes of one of these.
func rotatedFromAny(paths []string, path string) bool {
	return slices.ContainsFunc(paths, func(live string) bool {
		return rotatedFrom(filepath.Base(live), filepath.Base(path))
	})
}

// liveNames returns the paths of which rotation makes a path, by its name.
func liveNames(path string) (all []string) {
	if ext := filepath.Ext(path); slices.Contains(packed, ext) {
		path = strings.TrimSuffix(path, ext)
	}
	dir, name := filepath.Split(path)
	for i := 1; i < len(name); i++ {
		for _, live := range []string{name[:i], name[:i] + filepath.Ext(name)} {
			if rotatedFrom(live, name) {
				all = append(all, dir+live)
			}
		}
	}
	return all
}

// reused is a path that another file has now.
type reused struct {
	path  string
	since time.Time // when the previous file was last written to
	head  head      // how the text begins that is searched for; zero: it is not known
	by    *follower // whose saved position says that the search is due; nil: it is done before positions are saved
}

// mayBe reports whether a file may have had the path, by its name and its time.
func (h *reused) mayBe(x *sibling) bool {
	return x.by == nil && x.path != h.path && !x.info.ModTime().Before(h.since) &&
		rotatedFrom(filepath.Base(h.path), filepath.Base(x.path))
}

// reusedPaths are the paths that got another file since the last search.
type reusedPaths struct {
	mu   sync.Mutex
	list []reused
}

// note notes that another file, or another text, has a path now.
func (p *reusedPaths) note(h reused) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, h)
}

// isDue reports whether something that a follower noted was not taken yet.
func (p *reusedPaths) isDue(f *follower) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.list, func(h reused) bool { return h.by == f })
}

// noteReusedLocked notes that the file's path has another text now. A process may end before the search: until that is
// done, the file's saved position says that it is due.
func (f *follower) noteReusedLocked(path string, since time.Time) {
	if f.unsought.IsZero() || since.Before(f.unsought) {
		f.unsought = since
	}
	f.t.reused.note(reused{path: path, since: since, by: f})
}

// sought notes that a search is done which the follower asked for. What was found has saved positions of its own.
func (f *follower) sought() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.t.reused.isDue(f) {
		f.unsought = time.Time{}
		f.t.positions.amend(f.place.stream, func(m *savedPosition) { m.Unsought = 0 })
	}
}

// take returns what was noted since the last call.
func (p *reusedPaths) take() (list []reused) {
	p.mu.Lock()
	defer p.mu.Unlock()
	list, p.list = p.list, nil
	return list
}

// seekUnseen searches at all paths that got another file since the last search.
func (t *Tailer) seekUnseen(ctx context.Context) {
	list := slices.DeleteFunc(t.reused.take(), t.staysDue)
	if len(list) == 0 {
		return
	}
	s := t.newSearch()
	defer s.close()
	t.start(ctx, t.unseen(s, list)...)
	for _, h := range list {
		if h.by != nil {
			h.by.sought()
		}
	}
}

// staysDue reports whether no table names a path: its files are let go, and saved positions show what was sent of them.
// What a follower noted is searched for when a table names the path again.
func (t *Tailer) staysDue(h reused) bool {
	if t.namedBy(h.path) != nil {
		return false
	}
	if h.by != nil {
		t.reused.note(h)
	}
	return true
}

// withRenamed adds the files that no table names to new ones that are about to be followed: those that
// were renamed while no process followed them, or no table named them, and those that were created and
// renamed since.
func (t *Tailer) withRenamed(fresh []*follower) []*follower {
	s := t.newSearch()
	defer s.close()
	for _, f := range fresh {
		s.fresh[f.key] = f
	}
	var list []reused
	if !t.looked || t.renewed {
		fresh = append(fresh, t.renamedMeanwhile(s)...)
		list = append(t.due(), t.lostMeanwhile(s)...)
	}
	if t.looked {
		list = append(list, t.reusedBy(fresh)...)
	} else {
		list = append(list, t.reusedMeanwhile(fresh)...)
	}
	return append(fresh, t.unseen(s, list)...)
}

// reusedBy lists the paths of followed files that new files have now.
func (t *Tailer) reusedBy(fresh []*follower) (list []reused) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range fresh {
		if g := t.byPath[f.path]; g != nil && !g.isArchive() && !f.isArchive() {
			g.mu.Lock()
			modified := g.modified
			g.mu.Unlock()
			since := later(g.file.modified(modified), t.since.Add(-mostSkew)) // it was there at the last look
			list = append(list, reused{path: f.path, since: since})
		}
	}
	return list
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// nanoseconds returns a time as it is saved, 0 for the zero time.
func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// timeOf returns a saved time; or, if it was not saved.
func timeOf(ns int64, or time.Time) time.Time {
	if ns == 0 {
		return or
	}
	return time.Unix(0, ns)
}

// changedSince reports whether the file was written to, or truncated, since then.
func (f *follower) changedSince(then time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !then.IsZero() && f.modified.After(then)
}

// due lists the searches that the saved positions say are due, at paths that a table names.
func (t *Tailer) due() (list []reused) {
	for id, m := range t.positions.all() {
		paths := t.named(m)
		if m.Unsought == 0 || len(paths) == 0 {
			continue
		}
		f := t.claimant(id)
		for _, path := range paths {
			list = append(list, reused{path: path, since: timeOf(m.Unsought, time.Time{}), by: f})
		}
		if f == nil { // else its follower saves that
			t.positions.amend(id, func(m *savedPosition) { m.Unsought = 0 })
		}
	}
	return list
}

// named returns the names of a saved position's file that tables name.
func (t *Tailer) named(m *savedPosition) []string {
	return slices.DeleteFunc(m.labels(), func(path string) bool { return !t.names(path) })
}

// lostMeanwhile lists the paths whose texts may be in copies alone since no process followed their files, or no table
// named them, and no place in the texts shows that. Those of a file that is gone are searched for once: what is found
// is followed.
func (t *Tailer) lostMeanwhile(s *search) (list []reused) {
	written := t.positions.written
	for _, m := range t.registered() {
		paths := t.named(m)
		if len(paths) == 0 {
			continue
		}
		h := reused{since: timeOf(m.Begun, written.Add(-2*t.Poll))}
		switch f := t.claimant(m.Stream); {
		case f == nil && s.wasLeft(m):
			h.head, h.since = m.leftCopies(h.since, written.Add(-2*t.Poll-mostSkew))
			t.positions.amend(m.Stream, func(m *savedPosition) { m.Begun = 0 })
		case f == nil || s.fresh[f.key] != f || !f.changedSince(timeOf(m.Seen, written)):
			continue
		case m.Offset > 0 && (m.Seen == 0 || f.file.holds(m.Point)):
			continue
		}
		for _, h.path = range paths {
			list = append(list, h)
		}
	}
	return list
}

// leftCopies returns by what copies of the file that were left can be known: the beginning of their text, and when
// they were written at the earliest. looked is when the last process had looked at the file, at the latest.
func (m *savedPosition) leftCopies(since, looked time.Time) (head, time.Time) {
	if m.Seen == 0 && !m.More { // a copy from before that has nothing but what was sent
		since = later(since, looked)
	}
	if m.Offset > 0 && m.Seen > 0 {
		return head{}, since // what is known is the beginning of the text before
	}
	return m.head, since
}

// wasLeft reports whether a saved position's file is gone, and copies may have been left to it: nothing of them was
// sent, since the file had the same text, of which too little was sent to know them by, and perhaps not all.
func (s *search) wasLeft(m *savedPosition) bool {
	left := m.Seen > 0 || m.Offset < leastProof && (m.More || m.Live)
	return left && m.Begun > 0 && s.in(m.places()[0]).there && s.same(m) == nil
}

// reusedMeanwhile lists the paths that got another file while no process followed them, by the saved
// positions of the last one.
func (t *Tailer) reusedMeanwhile(fresh []*follower) (list []reused) {
	at := make(map[string]*follower, len(fresh))
	for _, f := range fresh {
		at[f.path] = f
	}
	written := t.positions.written
	looked := written.Add(-2 * t.Poll) // the last process looked at the files after that
	for _, m := range t.registered() {
		f := t.claimant(m.Stream)
		for _, path := range t.named(m) {
			switch {
			case f == nil && written.IsZero(): // the collector does not know which rotated files were sent
			case f == nil:
				list = append(list, reused{path: path, since: looked})
			case f != at[path]:
				f.mu.Lock()
				list = append(list, reused{path: path, since: later(looked, f.modified)})
				f.mu.Unlock()
			}
		}
	}
	return list
}

// unseen finds files that had a path for a while since an older one had it: rotation renamed
// them before they were seen, and no table names them. Names, dates and contents must agree.
// They are to be followed; those that are compressed by now can only be reported.
func (t *Tailer) unseen(s *search, list []reused) (found []*follower) {
	all := t.registered()
	for _, h := range list {
		var at []*follower
		for _, x := range s.in(filepath.Dir(h.path)).files {
			if !h.mayBe(x) || t.wasLetGo(x.info) || !t.mayBeUnseen(x, h) {
				continue
			}
			f := x.open(t)
			switch {
			case f == nil, !h.head.mayBegin(f.file.headSums()), slices.ContainsFunc(all, f.mayContinue):
			case s.isLikeNew(f):
				t.reused.note(h) // the next search compares it with what is followed
			case t.looksLikeCopy(f) && f.original != nil && f.isWithin(f.original):
				t.reportUnsent(x.path)
			default:
				x.f, x.by = nil, f
				t.inherit(f, h.path)
				f.maybeCopy = true
				if !t.looked && t.lostState() { // the collector forgot those that were sent and let go
					f.countAgain(h.path, f.file.size())
				}
				at = append(at, f)
			}
		}
		slices.SortFunc(at, func(a, b *follower) int { return a.modified.Compare(b.modified) })
		for _, f := range at {
			t.counts.unseen.Add(1)
			t.Log.Warn("a file was created and rotated before it was seen; it is sent now", "path", f.path,
				"for", h.path)
		}
		found = append(found, at...)
	}
	return found
}

// noteLetGo notes that all of a file was sent that still exists: it is neither one that no look saw, nor a copy
// of what is sent later.
func (t *Tailer) noteLetGo(f *follower) {
	fi, err := f.file.f.statRaw()
	if err != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.letGo) >= mostBeside {
		clear(t.letGo) // names and times are then all that is known of them
	}
	t.letGo[f.key] = left{f.file.handle, fi.ModTime(), f.place.local.Point}
}

// goesOn has a file that was let go, and that a table names again, go on where it was. Only its handle shows that it is
// the same: an inode is used again, and a program may write the same lines each night.
func (t *Tailer) goesOn(f *follower) bool {
	t.mu.Lock()
	x := t.letGo[f.key]
	t.mu.Unlock()
	if len(x.handle) == 0 || !bytes.Equal(x.handle, f.file.handle) || x.at.Offset == 0 || !f.file.holds(x.at) {
		return false
	}
	f.startAt(x.at)
	t.Log.Info("file was let go, and is named again; only what is new is sent", "path", f.path, "from", x.at.Offset)
	return true
}

// wasLetGo reports whether a file was let go, and not written to since.
func (t *Tailer) wasLetGo(fi fs.FileInfo) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	x, known := t.letGo[keyOf(fi)]
	return known && x.modified.Equal(fi.ModTime())
}

// reportUnsent reports once a file that is not sent because it may be a copy.
func (t *Tailer) reportUnsent(path string) {
	if t.warnOnce(path, "a new file with a rotated name looks like a copy of another file; it is not sent") {
		t.counts.unsure.Add(1)
	}
}

// mayBeUnseen reports whether a file with a rotated name may be followed. One that is compressed is
// reported.
func (t *Tailer) mayBeUnseen(x *sibling, h reused) bool {
	if slices.Contains(packed, filepath.Ext(x.path)) {
		if x.info.ModTime().After(h.since) { // otherwise it is the previous file itself
			t.reportPacked(x.path)
		}
		return false
	}
	return !t.names(x.path) && !t.tableOf(h.path).Excludes(x.path) // or the next look finds it, or it is excluded
}

// isLikeNew reports whether a file begins like one that is followed soon.
func (s *search) isLikeNew(f *follower) bool {
	head := f.file.head(headSize)
	for _, g := range s.fresh {
		if g.dir == f.dir && bytes.Equal(g.file.head(len(head)), head) {
			return true
		}
	}
	return false
}

// isWithin reports whether another file has all of this one, as far as its last bytes show.
func (f *follower) isWithin(g *follower) bool {
	end, err := f.file.cursorAt(f.file.size(), 0)
	return err == nil && g.file.still(end)
}

// mayContinue reports whether the stream of a saved position goes on in this file: it holds what was sent,
// and is the stream's own file, or that does not, or is gone and this is enough to tell.
func (f *follower) mayContinue(m *savedPosition) bool {
	if !f.has(m) {
		return false
	}
	f.t.mu.Lock()
	g := f.t.claims[m.Stream]
	f.t.mu.Unlock()
	if g == nil {
		return m.Offset >= leastProof || f.sameFile(m)
	}
	return !g.file.holds(m.Point)
}

// reportPacked reports once a rotated file that was compressed, unless it was followed before.
func (t *Tailer) reportPacked(path string) {
	t.mu.Lock()
	known := t.byPath[strings.TrimSuffix(path, filepath.Ext(path))] != nil
	t.mu.Unlock()
	if !known && t.warnOnce(path, "a file was rotated and compressed before it was seen; "+
		"lines in it may not have been sent: decompress it under a name that is followed") {
		t.counts.unsure.Add(1)
	}
}

// registered lists all known streams, followed or not.
func (t *Tailer) registered() []*savedPosition {
	list := t.positions.all()
	t.session.mergeInto(list)
	return slices.Collect(maps.Values(list))
}
