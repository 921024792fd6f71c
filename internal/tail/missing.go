package tail

import (
	"cmp"
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"fanin/internal/disk"
	"fanin/internal/wire"
)

// absence is a stream whose file cannot be found.
type absence struct {
	since  time.Time   // since when its directory exists without it; zero: it does not
	ending atomic.Bool // its stream is being ended
}

// sibling is a file in a directory that is searched.
type sibling struct {
	path string
	info fs.FileInfo
	f    *follower // not started; nil if the file is followed, or cannot be opened
	by   *follower // follows the file; nil: it is not followed
	shut bool      // it cannot be opened, or is not a log
}

// siblings are the regular files of a directory, which is read once for everything that is
// searched for in it.
type siblings struct {
	there  bool // the directory exists
	cut    bool // it has more files than are compared
	device uint64
	system uint64
	files  []*sibling
}

// open opens a sibling that is not followed, once; nil if it cannot be opened.
func (x *sibling) open(t *Tailer) *follower {
	if x.f == nil && x.by == nil && !x.shut {
		var err error
		x.f, err = t.open(candidate{path: x.path, table: &Table{}, key: keyOf(x.info), info: x.info})
		x.shut = err != nil
	}
	return cmp.Or(x.f, x.by)
}

// has reports whether the file has this inode.
func (x *sibling) has(inode uint64) bool { return disk.Inode(x.info) == inode }

// search is one search for files in the directories where they were.
type search struct {
	t     *Tailer
	dirs  map[string]*siblings
	known map[uint64]bool       // inodes of all streams; nil: not asked yet
	fresh map[fileKey]*follower // files that are followed soon
}

func (t *Tailer) newSearch() *search {
	return &search{t: t, dirs: make(map[string]*siblings), fresh: make(map[fileKey]*follower)}
}

// in returns the files of a directory.
func (s *search) in(dir string) *siblings {
	if s.dirs[dir] == nil {
		if s.known == nil {
			s.known = make(map[uint64]bool)
			for _, m := range s.t.registered() {
				s.known[m.inode] = true
			}
		}
		s.dirs[dir] = s.read(dir)
	}
	return s.dirs[dir]
}

// read reads a directory.
func (s *search) read(dir string) *siblings {
	d, err := os.Open(dir)
	if err != nil {
		return &siblings{}
	}
	defer d.Close()
	fi, err := d.Stat()
	if err != nil || !fi.IsDir() {
		return &siblings{}
	}
	all := &siblings{there: true, device: disk.Device(fi)}
	all.system, _ = disk.FileSystem(d)
	others := newest[*sibling]{info: func(x *sibling) fs.FileInfo { return x.info }}
	err = eachEntry(d, func(e fs.DirEntry) bool {
		fi, err := e.Info()
		if err != nil || !fi.Mode().IsRegular() {
			return true
		}
		x := &sibling{path: filepath.Join(dir, e.Name()), info: fi}
		s.t.mu.Lock()
		x.by = cmp.Or(s.t.followers[keyOf(fi)], s.fresh[keyOf(fi)])
		s.t.mu.Unlock()
		if x.by != nil || s.known[disk.Inode(fi)] {
			all.files = append(all.files, x)
		} else {
			others.add(x)
		}
		return true
	})
	if err != nil {
		return &siblings{}
	}
	others.trim()
	all.files, all.cut = append(all.files, others.list...), others.cut
	return all
}

// close closes what was opened and not used.
func (s *search) close() {
	for _, d := range s.dirs {
		for _, x := range d.files {
			if x.f != nil {
				x.f.file.close()
			}
		}
	}
}

// labels returns the names that a saved position's file had: copies of it may be named after each.
func (m *savedPosition) labels() []string {
	if m.Now == "" {
		return []string{m.path}
	}
	return []string{m.path, m.Now}
}

// namesCopy reports whether a path is one that rotation makes of the file's.
func (m *savedPosition) namesCopy(path string) bool { return rotatedFromAny(m.labels(), path) }

// places returns the directories where a saved position's file may be.
func (m *savedPosition) places() []string {
	if m.real != "" && filepath.Dir(m.real) != filepath.Dir(m.path) {
		return []string{filepath.Dir(m.real), filepath.Dir(m.path)}
	}
	return []string{filepath.Dir(m.path)}
}

// same finds a saved position's file under another name by inode and handle.
func (s *search) same(m *savedPosition) *sibling {
	for _, dir := range m.places() {
		for _, x := range s.in(dir).files {
			if disk.Inode(x.info) != m.inode {
				continue
			}
			if f := x.open(s.t); f == nil || f.sameFile(m) {
				return x
			}
		}
	}
	return nil
}

// find finds a saved position's file under another name: first by inode and handle, then by content. The
// file may be followed already, or impossible to open.
func (s *search) find(m *savedPosition) *sibling {
	if x := s.same(m); x != nil || m.Offset < leastProof {
		return x
	}
	return s.holding(m)
}

// holding finds a file that holds what was sent of a saved position's file.
func (s *search) holding(m *savedPosition) *sibling {
	for _, dir := range m.places() {
		for _, x := range s.in(dir).files {
			if x.info.Size() < m.Offset || slices.Contains(packed, filepath.Ext(x.path)) {
				continue
			}
			if f := x.open(s.t); f != nil && f.has(m) {
				return x
			}
		}
	}
	return nil
}

// awaits reports whether a file of which nothing was sent may have text of a saved position's file, which is gone. Too
// little proves it: all of it is sent, and the saved position says how much of that is counted. As long as no table
// names the path, files beside it are not followed, but may be later.
func (s *search) awaits(m *savedPosition) bool {
	unnamed := s.t.namedBy(m.path) == nil
	return slices.ContainsFunc(s.in(m.places()[0]).files, func(x *sibling) bool {
		decided := x.by == nil && !unnamed || x.by != nil && !x.by.mayBeCopy()
		if decided || slices.Contains(packed, filepath.Ext(x.path)) {
			return false
		}
		f := x.open(s.t)
		return f != nil && (f.has(m) || f.mayBePartOf(m) || f.alike != nil && f.alike.Stream == m.Stream)
	})
}

// inOrder returns saved positions that have a path: first those whose files are there, so that none of
// these is taken for the file of a stream whose own is gone.
func (s *search) inOrder(known map[wire.StreamID]*savedPosition) (list []*savedPosition) {
	gone := make(map[*savedPosition]int)
	for _, m := range known {
		if m.path == "" {
			continue
		}
		list = append(list, m)
		if s.same(m) == nil {
			gone[m] = 1
		}
	}
	slices.SortFunc(list, func(a, b *savedPosition) int {
		return cmp.Or(cmp.Compare(gone[a], gone[b]), cmp.Compare(a.path, b.path), cmp.Compare(b.Offset, a.Offset))
	})
	return list
}

// confirms reports whether the directory of a saved position's file exists, on the same file system as
// before: only then does it mean anything that the file is missing.
func (s *search) confirms(m *savedPosition) bool {
	d := s.in(m.places()[0])
	if d.cut {
		return false // it may be among those that were not compared
	}
	if m.system != 0 && d.system != 0 {
		return d.there && d.system == m.system
	}
	return d.there && d.device == m.device
}

// seekMissing searches for the files of streams without a follower: they may have been
// renamed while this process did not run, or be on a file system that is mounted later. What
// is not found counts as missing. Its stream ends when its directory existed for long enough
// without the file, or with a file whose own stream covers it, by the monotonic clock; and at once if
// the file is followed as another stream.
func (t *Tailer) seekMissing(ctx context.Context) {
	s := t.newSearch()
	defer s.close()
	known := t.known()
	for id := range t.missing {
		if known[id] == nil {
			delete(t.missing, id)
		}
	}
	for _, m := range s.inOrder(known) {
		if t.claimant(m.Stream) != nil {
			continue // meanwhile
		}
		x := s.find(m)
		if x != nil && x.by != nil && x.by.sameFile(m) && m.Offset > 0 && !x.by.has(m) {
			x = cmp.Or(s.holding(m), x) // it was truncated, and is followed as another stream
		}
		switch {
		case x == nil || x.by != nil:
		case x.f == nil, x.has(m.inode) && inodeAt(m.path) == m.inode, t.namedBy(m.path) == nil, t.chains(x.path):
			// it cannot be opened, or no table names it any more, or the next look finds it
			delete(t.missing, m.Stream)
			continue
		default:
			t.start(ctx, t.takeFound(s, m, x))
			continue
		}
		t.absent(ctx, s, m, x)
	}
	t.counts.missing.Store(uint64(len(t.missing)))
}

// claimant returns the follower of a stream, nil if there is none.
func (t *Tailer) claimant(id wire.StreamID) *follower {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.claims[id]
}

// renamedMeanwhile makes followers of files that no table names: they were renamed while no process
// followed them. Only the number shows that, here; what is left is searched for later.
func (t *Tailer) renamedMeanwhile(s *search) (found []*follower) {
	known := t.known()
	byPath := func(a, b *savedPosition) int { // of two for one file, the one that was begun
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(b.Offset, a.Offset))
	}
	for range 4 { // what is renamed meanwhile may not be listed, or not be opened
		var left []*savedPosition
		for _, m := range slices.SortedFunc(maps.Values(known), byPath) {
			if m.path == "" || t.namedBy(m.path) == nil || inodeAt(m.path) == m.inode {
				continue
			}
			x := s.same(m)
			switch {
			case x == nil, x.shut:
				left = append(left, m)
			case s.isAnothers(x, m, known): // its text is in a copy
			case x.by == nil && !t.chains(x.path):
				f := t.takeFound(s, m, x)
				found, s.fresh[f.key] = append(found, f), f
			}
		}
		if len(left) == 0 {
			break
		}
		time.Sleep(t.Poll / 16)
		known = make(map[wire.StreamID]*savedPosition, len(left))
		for _, m := range left {
			known[m.Stream] = m
		}
		s.close()
		s.dirs = make(map[string]*siblings)
	}
	return found
}

// isAnothers reports whether a file is that of another saved position, whose place it holds, and no longer of m:
// the collector knows a stream by its file until it is opened for the copy.
func (s *search) isAnothers(x *sibling, m *savedPosition, known map[wire.StreamID]*savedPosition) bool {
	f := x.open(s.t)
	if f == nil || f.file.holds(m.Point) {
		return false
	}
	for _, o := range known {
		if o != m && o.inode == m.inode && f.sameFile(o) && f.file.holds(o.Point) {
			return true
		}
	}
	return false
}

// chains reports whether a path is one at which a look finds a file of a container: it must come behind
// the file before it.
func (t *Tailer) chains(path string) bool {
	table := t.namedBy(path)
	return table != nil && table.Container && !table.Whole
}

// absent is for a stream whose file cannot be found, or is x, which is followed as another stream.
func (t *Tailer) absent(ctx context.Context, s *search, m *savedPosition, x *sibling) {
	twice := x != nil && x.by.sameFile(m) // it is there, and its follower reads it: it must not be read again
	a := t.missing[m.Stream]
	if a == nil {
		a = new(absence)
		if t.missing[m.Stream] = a; !twice {
			t.reportMissing(m)
		}
	}
	covered, wait := x == nil || x.by.covers(m), t.Forget
	if x != nil {
		wait = min(wait, t.LetGo/2) // once that file is let go, nothing shows that all of it was sent
	}
	switch {
	case twice && covered && !a.ending.Swap(true):
		t.endMissing(ctx, m, a, "file is followed as another stream, which has all of this one; this one was ended")
	case !covered, !s.confirms(m):
		a.since = time.Time{}
	case a.since.IsZero():
		a.since = time.Now()
	case time.Since(a.since) >= wait && !s.awaits(m) && !a.ending.Swap(true):
		t.endMissing(ctx, m, a, "file is missing for long; its stream was ended")
	}
}

// reportMissing counts and reports a stream whose file cannot be found.
func (t *Tailer) reportMissing(m *savedPosition) {
	if t.counts.vanished.Add(1); !t.sendsFiles() {
		t.Log.Warn("file is missing; lines written to it behind this offset are not sent until it is found",
			"path", m.path, "offset", m.Offset)
	}
}

// sendsFiles reports whether all files are sent as they are now. Then a file that is missing is one
// of an earlier time, or an archive under its first name, and nothing of it is expected.
func (t *Tailer) sendsFiles() bool {
	return len(t.Tables) > 0 && !slices.ContainsFunc(t.Tables, func(x Table) bool { return !x.Whole })
}

// covers reports whether this follower has sent everything of a saved position's stream. It has another
// stream, and the file that the saved position's file was found to be.
func (f *follower) covers(m *savedPosition) bool {
	f.mu.Lock()
	agreed, acked := f.place.agreed, f.place.local.Point.Offset
	f.mu.Unlock()
	return agreed && (acked >= m.Offset || !f.has(m))
}

// inodeAt returns the inode of the file at a path, 0 if there is none.
func inodeAt(path string) uint64 {
	fi, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return disk.Inode(fi)
}

// takeFound makes the follower of a saved position's file under the name that it has now. It is not
// started.
func (t *Tailer) takeFound(s *search, m *savedPosition, x *sibling) *follower {
	f := x.f
	x.f, x.by = nil, f
	f.reportRest(m)
	if m.Copy {
		m = s.continuedIn(f, m)
	}
	t.inherit(f, m.path)
	f.assign(m)
	delete(t.missing, m.Stream)
	t.Log.Info("file was renamed; the rest of it is read", "was", m.path, "path", f.path)
	return f
}

// reportRest reports a file that was found by its text alone, which its name does not confirm: it may have been sent
// as itself, let go and forgotten, and a version of it that was shorter is what is gone.
func (f *follower) reportRest(m *savedPosition) {
	rest := f.file.size() - m.Offset
	if rest <= 0 || f.sameFile(m) || m.namesCopy(f.path) {
		return
	}
	f.t.counts.unsure.Add(1)
	f.t.counts.doubled.Add(uint64(rest))
	f.t.Log.Warn("file holds what was sent of one that is gone, and more; the rest of it is sent, so lines may be in "+
		"the log twice", "path", f.path, "of", m.path, "bytes", rest)
}

// continuedIn returns the saved position whose file is gone, and whose text is in a file that was undecided
// so far; or, if there is none.
func (s *search) continuedIn(f *follower, or *savedPosition) *savedPosition {
	for _, m := range s.t.known() {
		if !m.Copy && m.Offset >= leastProof && f.has(m) && s.same(m) == nil {
			s.t.forget(or.Stream)
			return m
		}
	}
	return or
}

// inherit treats a file that no table names as the one that had path before.
func (t *Tailer) inherit(f *follower, path string) {
	f.visible, f.hidden, f.table, f.origin = false, time.Now(), t.tableOf(path), path
	f.source = f.table.source(path)
	f.file.decodeAs(f.table)
}

// endMissing ends the stream of a file that is gone for good, on a goroutine that ends with
// the outcome.
func (t *Tailer) endMissing(ctx context.Context, m *savedPosition, a *absence, why string) {
	t.running.Go(func() {
		err := t.Out.Append(ctx, wire.Batch{Op: wire.OpEnd, Stream: m.Stream, Epoch: m.Epoch,
			Offset: m.Offset, End: m.Offset, Before: m.Tail, After: m.Tail})
		if err != nil && !t.Lossy {
			t.Log.Debug("the stream of a missing file did not end", "path", m.path, "err", err)
			a.ending.Store(false) // the next look tries again
			return
		}
		t.forget(m.Stream)
		t.Log.Info(why, "path", m.path, "offset", m.Offset)
	})
}

// forget removes what is known of a stream that ended.
func (t *Tailer) forget(id wire.StreamID) {
	t.positions.remove(id)
	t.session.forget(id)
}
