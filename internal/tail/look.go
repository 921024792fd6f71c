package tail

import (
	"cmp"
	"context"
	"errors"
	"fanin/internal/disk"
	"fanin/internal/tail/container"
	"fanin/internal/wire"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// look finds new files, and notes for each follower under which name its file is now.
func (t *Tailer) look(ctx context.Context) *sight {
	s := &sight{dirs: make(map[string]bool), whole: true, ctx: ctx, alive: t.Alive, lived: time.Now()}
	t.looks.Add(1)
	reloaded := t.reloaded.Swap(false)
	t.renewed = t.looked && reloaded
	tables := t.tables()
	f := t.newFinding(tables)
	for i := range tables {
		t.match(&tables[i], s, f.add)
	}
	s.took = time.Since(f.began)
	if s.broken {
		t.reloaded.Store(t.reloaded.Load() || reloaded)
		return s
	}
	fresh := f.fresh()
	f.report(s)
	changed := t.seeTexts(f.found) // before new files begin: those may be copies of texts that were not seen yet
	t.followNew(ctx, fresh)
	for _, g := range changed { // now: the copies that they look for are followed
		g.notify()
	}
	if t.renewed {
		t.strayed.Store(true) // files that a table names again may have other names
	}
	if t.since = f.began; s.cut {
		t.since = time.Time{}
	}
	t.seeNames(f.found, s, reloaded)
	t.descriptors.closeIdle()
	return s
}

// seeNames notes for each follower under which name its file was found.
func (t *Tailer) seeNames(found map[fileKey]candidate, s *sight, reloaded bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, g := range t.followers {
		c, visible := found[key]
		if !visible && s.cut {
			c, visible = t.stillNamed(g)
		}
		was := g.see(c, visible)
		if reloaded {
			g.settle(c, visible, was)
		}
		if visible {
			if before := t.nameLocked(g, c.path); before != nil {
				g.oust(before, c.path)
			}
		}
	}
}

// seeTexts notes what became of the texts of all files that are followed, also of those that no table names
// any more: they may have been truncated before they were renamed. It returns the followers whose files changed.
func (t *Tailer) seeTexts(found map[fileKey]candidate) (changed []*follower) {
	t.mu.Lock()
	all := t.allLocked()
	t.mu.Unlock()
	for _, g := range all {
		c, visible := found[g.key]
		if visible && g.isAsSeen(c.info) {
			continue // without asking again, since most files are idle
		}
		if g.seeText(c.path, false) {
			changed = append(changed, g)
		}
	}
	return changed
}

// stillNamed looks for one file where it was last seen.
func (t *Tailer) stillNamed(g *follower) (c candidate, visible bool) {
	c = candidate{path: g.name(), key: g.key}
	c.table = t.namedBy(c.path)
	var err error
	c.info, err = os.Stat(c.path)
	return c, err == nil && keyOf(c.info) == g.key && c.table != nil
}

// candidate is a file that a table names.
type candidate struct {
	path  string
	table *Table
	key   fileKey
	info  fs.FileInfo
	rank  int  // of its pattern, among all patterns of all tables
	begun bool // it is followed, or something was sent of it, or it must be
}

// before reports whether a candidate precedes another name of the same file.
func (c *candidate) before(d *candidate) bool {
	return cmp.Or(cmp.Compare(c.rank, d.rank), strings.Compare(c.path, d.path)) < 0
}

// match calls found for the files of a table, in no order, with the number of the pattern from 1 on;
// 0: it is one of Files. A path may come twice, and its file is followed once.
func (t *Tailer) match(table *Table, s *sight, found func(path string, table *Table, pattern int)) {
	for _, path := range table.Files {
		found(path, table, 0)
	}
	for i, pattern := range table.Paths {
		find := func(path string) {
			if !table.Excludes(path) {
				found(path, table, i+1)
			}
		}
		err := s.glob(pattern, table.skipped(), find)
		if err == nil && table.Container { // then: what was rotated meanwhile is found, too
			err = s.glob(pattern+".*", table.skipped(), func(path string) {
				if container.Rotated(filepath.Base(path)) {
					find(path)
				}
			})
		}
		if err != nil {
			t.warnOnce(pattern, "invalid pattern: "+err.Error())
		}
	}
}

// regular reports whether a path is a regular file. It reports what is neither that nor a
// directory.
func (t *Tailer) regular(path string, fi fs.FileInfo) bool {
	if fi.Mode().IsRegular() {
		return true
	}
	if !fi.IsDir() {
		t.refuse(path, errors.New("it is not a regular file"))
	}
	return false
}

// mostWarned is about how many paths the tailer warns one by one.
const mostWarned = 1000

// warnOnce logs a warning about a path, unless one was logged before. It reports whether
// it did.
func (t *Tailer) warnOnce(path, text string) bool {
	if t.skipped[path] {
		return false
	}
	if len(t.skipped) >= mostWarned {
		t.limited.Warn("skipped", "more files have trouble than are reported one by one; write narrower paths, or "+
			"exclude", "reported", mostWarned, "path", path, "trouble", text)
		return false
	}
	t.skipped[path] = true
	t.Log.Warn(text, "path", path)
	return true
}

// followNew starts to follow those files that are not followed yet. All of them are
// identified by their inodes and handles before any is by its content, so that no copy gets
// the stream of a file that still exists.
func (t *Tailer) followNew(ctx context.Context, order []candidate) {
	var fresh []*follower
	for _, c := range order {
		t.mu.Lock()
		known := t.followers[c.key] != nil
		t.mu.Unlock()
		if known {
			continue
		}
		f, err := t.open(c)
		switch {
		case isUnfit(err):
			t.unfit[c.key] = versionOf(c.info)
			t.refuse(c.path, err)
			continue
		case err != nil:
			t.noteRefusal(c.path, err.Error())
			t.warnOnce(c.path, "cannot be followed: "+err.Error())
			continue
		}
		delete(t.skipped, c.path)
		t.noteRefusal(c.path, "")
		f.begins = headOf(f.file.headSums())
		fresh = append(fresh, f)
	}
	if len(fresh) == 0 && t.looked && !t.renewed { // else known files may have other names
		t.late = nil
		return
	}
	fresh = t.withMissed(fresh)
	// Rotated files come first: they are older.
	slices.SortStableFunc(fresh, func(a, b *follower) int { return a.modified.Compare(b.modified) })
	fresh = t.chain(fresh)
	t.identify(slices.DeleteFunc(slices.Clone(fresh), (*follower).isArchive))
	fresh = t.withRenamed(fresh)
	t.lineUp(fresh)
	t.start(ctx, fresh...)
}

// start runs followers, except for files that are followed by now. All are in the index
// before any of them runs: otherwise a copy might not find its original.
func (t *Tailer) start(ctx context.Context, all ...*follower) {
	for _, f := range all {
		if f.begins.bits == 0 {
			f.begins = headOf(f.file.headSums())
		}
		f.seeText("", false) // it may have been truncated since it was opened: searches take time
		f.checks.opened = f.begins
		f.claimFirst()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range all {
		if t.followers[f.key] != nil {
			t.unclaimLocked(f)
			f.file.close()
			continue
		}
		before := t.byPath[f.path]
		switch {
		case before == nil:
		case f.isArchive() || before.isArchive(): // neither can be a version of the other
		default:
			f.before = cmp.Or(f.before, before)
		}
		t.startLocked(ctx, f)
	}
}

// startLocked runs a follower on a goroutine, which ends with ctx, or when its file is gone
// and drained.
func (t *Tailer) startLocked(ctx context.Context, f *follower) {
	t.addLocked(f)
	t.nameLocked(f, f.path)
	if f.ahead != "" && t.byPath[f.ahead] == nil {
		t.nameLocked(f, f.ahead)
	}
	t.running.Go(func() {
		f.follow(ctx)
		t.ended(ctx, f)
	})
}

// drop removes a follower that ended from the index.
func (t *Tailer) drop(f *follower) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.removeLocked(f)
	if f.attempts.strays {
		t.strayed.Store(true) // not before: a search takes no stream that has a follower
	}
	f.drain()
	f.dropCarried(false)
	f.file.close()
}

// open makes a follower for a file, which is not started.
func (t *Tailer) open(c candidate) (*follower, error) {
	file, err := t.descriptors.openFile(c.path)
	if err != nil {
		return nil, err
	}
	fi, err := file.f.statRaw()
	if err != nil || keyOf(fi) != c.key {
		file.close()
		return nil, cmp.Or(err, errors.New("it was replaced while it was opened"))
	}
	if c.table.Archives {
		if err := file.unpack(); err != nil {
			file.close()
			return nil, err
		}
	}
	if err := cmp.Or(file.checkFit(c.path), t.checkOwn(file, c.path), t.checkEcho(c.key)); err != nil {
		file.close()
		return nil, err
	}
	file.decodeAs(c.table)
	real, err := filepath.EvalSymlinks(c.path)
	if err != nil || real == c.path {
		real = ""
	}
	f := &follower{t: t, table: c.table, key: c.key, file: file, wake: make(chan struct{}, 1),
		location:   location{path: c.path, real: real, dir: filepath.Dir(c.path), source: c.table.source(c.path)},
		sighting:   sighting{visible: true, now: c.path, size: fi.Size(), modified: fi.ModTime(), begun: fi.ModTime()},
		succession: succession{drained: make(chan struct{})}}
	f.noteRotatedLocked()
	f.place.start(wire.StreamID{}, newLocalState())
	f.report.moved = time.Now()
	f.report.lag.saw(file.size(), 0, fi.ModTime()) // its bytes are at least as old
	return f, nil
}

// fileKey identifies a file for as long as it is open or has a name.
type fileKey struct{ device, inode uint64 }

func keyOf(fi fs.FileInfo) fileKey { return fileKey{disk.Device(fi), disk.Inode(fi)} }
