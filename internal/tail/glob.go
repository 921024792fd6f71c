package tail

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fanin/internal/disk"
)

// sight is what one look at the patterns found.
type sight struct {
	dirs  map[string]bool // directories in which a change may add or remove a match
	whole bool            // there are no other such directories
	took  time.Duration

	ctx    context.Context // nil: never ends
	alive  func()          // called again and again during a long look; may be nil
	lived  time.Time       // when it was
	read   int             // directories that were read
	cut    bool            // there are more directories than a look reads
	broken bool            // the context ended: what was not found may exist
}

// What bounds a look, whatever the patterns are.
const (
	mostDirectories = 100_000 // that are read
	mostWatched     = 16_384  // of which the kernel reports changes: it has memory for a number of them
	entriesAtOnce   = 512
	aliveEvery      = time.Second
)

// deciding notes a directory that decides what matches.
func (s *sight) deciding(dir string) {
	if len(s.dirs) >= mostWatched && !s.dirs[dir] {
		s.whole = false
		return
	}
	s.dirs[dir] = true
}

// goesOn reports whether the look goes on.
func (s *sight) goesOn() bool {
	if s.alive != nil && time.Since(s.lived) >= aliveEvery {
		s.alive()
		s.lived = time.Now()
	}
	s.broken = s.broken || s.ctx != nil && s.ctx.Err() != nil
	return !s.broken && !s.cut
}

// walk is a search for what one pattern matches.
type walk struct {
	*sight
	skips func(dir string) bool // everything below a directory is excluded; nil: nothing is
	found func(path string)
	seen  map[place]bool // nil: no place is met twice
}

// place is a directory, and how many parts of the pattern are left there.
type place struct {
	dir  string
	left int
}

// glob calls found for everything that a pattern matches, as filepath.Glob finds it, but in no
// order, and notes the directories that decide it. A part of the pattern without wildcards is
// looked up by its name, so a directory is read only where it must be. ** does not follow links
// to directories, which may lead in a circle, nor enter file systems whose files are generated.
func (s *sight) glob(pattern string, skips func(dir string) bool, found func(path string)) error {
	list, err := partsOf(pattern)
	for _, p := range list {
		w := walk{sight: s, skips: skips, found: found}
		if first := slices.Index(p.rest, anyDepth); first >= 0 && slices.Contains(p.rest[first+1:], anyDepth) {
			w.seen = make(map[place]bool)
		}
		w.within(p.dir, p.rest)
	}
	return err
}

// within continues in a directory with the rest of the pattern's parts.
func (w *walk) within(dir string, rest []string) {
	if dir == "" {
		dir = "."
	}
	if w.seen != nil {
		here := place{dir, len(rest)}
		if w.seen[here] {
			return
		}
		w.seen[here] = true
	}
	w.deciding(dir)
	switch {
	case rest[0] == anyDepth:
		w.descend(dir, 0, rest[1:])
	case !hasMeta(rest[0]):
		w.named(dir, rest)
	default:
		var inner []string
		w.entries(dir, anyDevice, func(e fs.DirEntry) {
			if Matches(rest[0], e.Name()) && w.entry(dir, e, rest) {
				inner = append(inner, e.Name())
			}
		})
		for _, name := range inner {
			w.within(filepath.Join(dir, name), rest[1:])
		}
	}
}

// named looks up a part that is a name.
func (w *walk) named(dir string, rest []string) {
	path := filepath.Join(dir, rest[0])
	if _, err := os.Lstat(path); err != nil || !w.goesOn() {
		return // when it is created, its directory changes
	}
	if len(rest) == 1 {
		w.found(path)
		return
	}
	w.within(path, rest[1:])
}

// entry is for an entry that a part matches: a file is found, and true says that it is a directory
// in which the search continues.
func (w *walk) entry(dir string, e fs.DirEntry, rest []string) (inner bool) {
	path := filepath.Join(dir, e.Name())
	if len(rest) == 1 {
		w.found(path)
		return false
	}
	return isDir(path, e)
}

// descend searches a directory, and all directories below it, with the parts behind a **; above is
// the device of the one above it.
func (w *walk) descend(dir string, above uint64, rest []string) {
	w.deciding(dir)
	var inner, deeper []string
	device := w.entries(dir, above, func(e fs.DirEntry) {
		if Matches(rest[0], e.Name()) && w.entry(dir, e, rest) {
			inner = append(inner, e.Name())
		}
		if e.IsDir() {
			deeper = append(deeper, e.Name())
		}
	})
	for _, name := range inner {
		w.within(filepath.Join(dir, name), rest[1:])
	}
	for _, name := range deeper {
		path := filepath.Join(dir, name)
		if !w.goesOn() {
			return
		}
		if w.skips == nil || !w.skips(path) {
			w.descend(path, device, rest)
		}
	}
}

// anyDevice is in place of the device above a directory that is read wherever it is.
const anyDevice = 1<<64 - 1

// entries calls each for the entries of a directory, a number of them at a time, and returns its
// device. It does not read one of another device than the one above it, if the files there are
// generated.
func (w *walk) entries(dir string, above uint64, each func(fs.DirEntry)) (device uint64) {
	if w.read++; w.read > mostDirectories {
		w.cut = true
	}
	if !w.goesOn() {
		return 0
	}
	d, err := os.Open(dir)
	if err != nil {
		w.whole = false
		return 0
	}
	defer d.Close()
	if fi, err := d.Stat(); err == nil {
		device = disk.Device(fi)
	}
	if above != anyDevice && above != device {
		if _, made := disk.FileSystem(d); made != "" {
			return 0
		}
	}
	for w.goesOn() {
		list, err := d.ReadDir(entriesAtOnce)
		for _, e := range list {
			each(e)
		}
		if err != nil {
			w.whole = w.whole && errors.Is(err, io.EOF)
			break
		}
	}
	return device
}

// isDir reports whether an entry is a directory, or a link to one.
func isDir(path string, e fs.DirEntry) bool {
	if e.Type()&os.ModeSymlink == 0 {
		return e.IsDir()
	}
	fi, err := os.Stat(path)
	return err == nil && fi.IsDir()
}

// skipped returns what tells whether everything below a directory is excluded: by a pattern that
// ends in /**.
func (table *Table) skipped() func(dir string) bool {
	var all []string
	for _, pattern := range table.Exclude {
		if dir, ok := strings.CutSuffix(pattern, separator+anyDepth); ok && dir != "" {
			all = append(all, dir)
		}
	}
	if all == nil {
		return nil
	}
	return func(dir string) bool {
		return slices.ContainsFunc(all, func(pattern string) bool { return Matches(pattern, dir) })
	}
}
