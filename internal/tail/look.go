package tail

import (
	"cmp"
	"context"
	"errors"
	"fanin/internal/disk"
	"fanin/internal/wire"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// look finds new files, and notes for each follower under which name its file is now.
func (t *Tailer) look(ctx context.Context) *sight {
	seen := make(map[fileKey]candidate)
	var order []candidate
	began := time.Now()
	s := &sight{dirs: make(map[string]bool), whole: true}
	for i := range t.Tables {
		for _, path := range t.match(&t.Tables[i], s) {
			fi, err := os.Stat(path)
			if err != nil || !t.regular(path, fi) {
				continue
			}
			c := candidate{path, &t.Tables[i], keyOf(fi), fi}
			if _, ok := seen[c.key]; !ok { // otherwise it is the same file under another name
				seen[c.key] = c
				order = append(order, c)
			}
		}
	}
	s.took = time.Since(began)
	t.followNew(ctx, order)
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, f := range t.followers {
		c, visible := seen[key]
		f.see(c, visible)
		if visible {
			if before := t.nameLocked(f, c.path); before != nil {
				f.oust(before, c.path)
			}
		}
	}
	return s
}

// candidate is a file that a table names.
type candidate struct {
	path  string
	table *Table
	key   fileKey
	info  fs.FileInfo
}

// match lists the files of a table, in order.
func (t *Tailer) match(table *Table, s *sight) (paths []string) {
	paths = slices.Clone(table.Files)
	for _, pattern := range table.Paths {
		found, err := s.glob(pattern)
		if err != nil {
			t.warnOnce(pattern, "invalid pattern: "+err.Error())
		}
		for _, path := range found {
			if !table.Excludes(path) {
				paths = append(paths, path) // a path may come twice, and its file is followed once
			}
		}
	}
	return paths
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

// warnOnce logs a warning about a path, unless one was logged before. It reports whether
// it did.
func (t *Tailer) warnOnce(path, text string) bool {
	if t.skipped[path] {
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
			t.refuse(c.path, err)
			continue
		case err != nil:
			t.warnOnce(c.path, "cannot be followed: "+err.Error())
			continue
		}
		delete(t.skipped, c.path)
		fresh = append(fresh, f)
	}
	if len(fresh) == 0 {
		return
	}
	// Rotated files come first: they are older.
	slices.SortStableFunc(fresh, func(a, b *follower) int { return a.modified.Compare(b.modified) })
	t.identify(slices.DeleteFunc(slices.Clone(fresh), (*follower).isArchive))
	t.start(ctx, fresh...)
}

// start runs followers, except for files that are followed by now. All are in the index
// before any of them runs: otherwise a copy might not find its original.
func (t *Tailer) start(ctx context.Context, all ...*follower) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range all {
		if t.followers[f.key] != nil {
			f.file.close()
			continue
		}
		if f.before = t.byPath[f.path]; f.before != nil && (f.isArchive() || f.before.isArchive()) {
			f.before = nil // neither can be a version of the other
		} else if f.before != nil {
			t.noteReusedLocked(f.path, f.before.file.modified(f.before.modified))
		}
		t.startLocked(ctx, f)
	}
}

// startLocked runs a follower on a goroutine, which ends with ctx, or when its file is gone
// and drained.
func (t *Tailer) startLocked(ctx context.Context, f *follower) {
	t.addLocked(f)
	t.nameLocked(f, f.path)
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
	f.drain()
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
		sighting:   sighting{visible: true, now: c.path, modified: fi.ModTime()},
		succession: succession{drained: make(chan struct{})}}
	f.place.start(wire.StreamID{}, newLocalState())
	f.report.moved = time.Now()
	f.report.lag.saw(file.size(), 0, fi.ModTime()) // its bytes are at least as old
	return f, nil
}

// fileKey identifies a file for as long as it is open or has a name.
type fileKey struct{ device, inode uint64 }

func keyOf(fi fs.FileInfo) fileKey { return fileKey{disk.Device(fi), disk.Inode(fi)} }
