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
	since  time.Time   // since when its directory was there without it; zero: it is not
	ending atomic.Bool // its stream is being ended
}

// sibling is a file in a directory, opened for a look at it.
type sibling struct {
	path string
	info fs.FileInfo
	f    *Follower // not started; nil if the file is followed, or cannot be opened
	by   *Follower // follows the file
	shut bool      // it cannot be opened, or is no log
}

// siblings are the regular files of a directory. They are read once for all that
// look for something there.
type siblings struct {
	there  bool
	device uint64
	system uint64
	files  []*sibling
}

// siblings reads a directory.
func (t *Tailer) siblings(dir string) *siblings {
	d, err := os.Open(dir)
	if err != nil {
		return &siblings{}
	}
	defer d.Close()
	fi, err := d.Stat()
	entries, rerr := d.ReadDir(-1)
	if err != nil || rerr != nil || !fi.IsDir() {
		return &siblings{}
	}
	s := &siblings{there: true, device: disk.Device(fi)}
	s.system, _ = disk.FileSystem(d)
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil || !fi.Mode().IsRegular() {
			continue
		}
		x := &sibling{path: filepath.Join(dir, e.Name()), info: fi}
		t.mu.Lock()
		x.by = t.followers[keyOf(fi)]
		t.mu.Unlock()
		s.files = append(s.files, x)
	}
	return s
}

// open opens a sibling that is not followed, once. nil: it cannot be opened.
func (x *sibling) open(t *Tailer) *Follower {
	if x.f == nil && x.by == nil && !x.shut {
		var err error
		x.f, err = t.open(candidate{x.path, &Table{}, keyOf(x.info), x.info})
		x.shut = err != nil
	}
	return cmp.Or(x.f, x.by)
}

// search is one look for files in the directories where they were.
type search struct {
	t    *Tailer
	dirs map[string]*siblings
}

func (t *Tailer) newSearch() *search { return &search{t, make(map[string]*siblings)} }

func (s *search) in(dir string) *siblings {
	if s.dirs[dir] == nil {
		s.dirs[dir] = s.t.siblings(dir)
	}
	return s.dirs[dir]
}

// close closes what was opened and found no use.
func (s *search) close() {
	for _, d := range s.dirs {
		for _, x := range d.files {
			if x.f != nil {
				x.f.file.close()
			}
		}
	}
}

// places are the directories where a mark's file may be.
func (m *mark) places() []string {
	if m.real != "" && filepath.Dir(m.real) != filepath.Dir(m.path) {
		return []string{filepath.Dir(m.real), filepath.Dir(m.path)}
	}
	return []string{filepath.Dir(m.path)}
}

// same finds a mark's file under another name by what it is.
func (s *search) same(m *mark) *sibling {
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

// find finds a mark's file under another name: first by what it is, then by what
// is in it. It may be one that is followed already, or cannot be opened.
func (s *search) find(m *mark) *sibling {
	if x := s.same(m); x != nil || m.Offset < leastProof {
		return x
	}
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

// confirms reports whether the directory of a mark's file is there, on the file
// system that it was on: only then does it mean anything that the file is not.
func (s *search) confirms(m *mark) bool {
	d := s.in(m.places()[0])
	if m.system != 0 && d.system != 0 {
		return d.there && d.system == m.system
	}
	return d.there && d.device == m.device
}

// seekMissing looks for the files of streams without a follower: they may have
// got another name while this process was away, or be on a file system that is
// mounted later. What is not found counts as missing. Its stream ends when its
// directory was there without it for long enough, or with a file in which another
// stream covers it, by a clock that cannot be set.
func (t *Tailer) seekMissing(ctx context.Context) {
	s := t.newSearch()
	defer s.close()
	known := t.known()
	for id := range t.missing {
		if known[id] == nil {
			delete(t.missing, id)
		}
	}
	for _, m := range slices.SortedFunc(maps.Values(known), func(a, b *mark) int { return cmp.Compare(a.path, b.path) }) {
		if m.path == "" {
			continue
		}
		x := s.find(m)
		switch {
		case x == nil || x.by != nil:
		case x.f == nil, inodeAt(m.path) == m.inode: // not to be opened, or named by no table any more
			delete(t.missing, m.Stream)
			continue
		default:
			t.resumeFound(ctx, m, x)
			continue
		}
		a := t.missing[m.Stream]
		if a == nil {
			a = new(absence)
			t.missing[m.Stream] = a
			t.counts.vanished.Add(1)
			t.Log.Warn("file is missing; if lines were written to it behind this offset, they are not sent before it is found", "path", m.path, "offset", m.Offset)
		}
		switch {
		case x != nil && !x.by.covers(m), !s.confirms(m):
			a.since = time.Time{}
		case a.since.IsZero():
			a.since = time.Now()
		case time.Since(a.since) >= t.Forget && !a.ending.Load():
			a.ending.Store(true)
			t.endMissing(ctx, m, a)
		}
	}
	t.counts.missing.Store(uint64(len(t.missing)))
}

// covers reports whether nothing of a mark's stream is left for this follower to
// send, which has another stream and the file that the mark's was found to be.
func (f *Follower) covers(m *mark) bool {
	f.mu.Lock()
	agreed, acked := f.place.agreed, f.place.local.Point.Offset
	f.mu.Unlock()
	return agreed && (acked >= m.Offset || !f.has(m))
}

// inodeAt is the number of the file at a path, 0 if there is none.
func inodeAt(path string) uint64 {
	fi, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return disk.Inode(fi)
}

// resumeFound goes on with a mark's file under the name it has now.
func (t *Tailer) resumeFound(ctx context.Context, m *mark, x *sibling) {
	f := x.f
	x.f = nil
	x.by = f
	t.dress(f, m.path)
	f.take(m)
	delete(t.missing, m.Stream)
	t.Log.Info("file has another name now; its rest is read", "was", m.path, "path", f.path)
	t.start(ctx, f)
}

// dress makes a file without a name that any table knows look like the one that
// had path before.
func (t *Tailer) dress(f *Follower, path string) {
	f.visible, f.table, f.origin = false, t.tableOf(path), path
	f.source = f.table.source(path)
	f.file.decoder = f.table.decoder()
}

// endMissing ends the stream of a file that is gone for good, on a goroutine that
// ends with its outcome.
func (t *Tailer) endMissing(ctx context.Context, m *mark, a *absence) {
	t.running.Go(func() {
		err := t.Out.Append(ctx, wire.Batch{Op: wire.OpEnd, Stream: m.Stream, Epoch: m.Epoch, Offset: m.Offset, End: m.Offset, Before: m.Tail, After: m.Tail})
		if err != nil && !t.Lossy {
			t.Log.Debug("the stream of a missing file did not end", "path", m.path, "err", err)
			a.ending.Store(false) // the next look tries again
			return
		}
		t.forget(m.Stream)
		t.Log.Info("file was missing for long, and its stream is ended", "path", m.path, "offset", m.Offset, "for", t.Forget)
	})
}

// forget forgets a stream that ended.
func (t *Tailer) forget(id wire.StreamID) {
	t.marks.remove(id)
	t.session.forget(id)
}
