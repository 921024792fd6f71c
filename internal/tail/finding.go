package tail

import (
	"cmp"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// finding is what one look has found so far.
type finding struct {
	t         *Tailer
	began     time.Time
	found     map[fileKey]candidate
	others    int             // found that were not begun
	begun     map[uint64]bool // inodes of files that were begun and have no follower; nil: not known yet
	unfit     map[fileKey]version
	tables    map[*Table]int // rank of the table's first pattern
	ignored   int            // files that are too old to begin
	unclaimed int            // files for which there is no room
}

// version is how a file looked when it was refused.
type version struct {
	size     int64
	modified time.Time
	seen     time.Time
}

// refusedAgain is after what time a refused file is opened again though it has not changed.
const refusedAgain = time.Minute

func versionOf(fi fs.FileInfo) version { return version{fi.Size(), fi.ModTime(), time.Now()} }

// same reports whether a file is as it was when it was refused, a short time ago.
func (v version) same(fi fs.FileInfo) bool {
	return v.size == fi.Size() && v.modified.Equal(fi.ModTime()) && time.Since(v.seen) < refusedAgain
}

func (t *Tailer) newFinding(tables []Table) *finding {
	t.mu.Lock()
	followed := len(t.followers)
	t.mu.Unlock()
	f := &finding{t: t, began: time.Now(), found: make(map[fileKey]candidate, followed),
		unfit: make(map[fileKey]version), tables: make(map[*Table]int)}
	rank := 0
	for i := range tables {
		f.tables[&tables[i]] = rank
		rank += 1 + len(tables[i].Paths)
	}
	return f
}

// add adds a path that a table names, by itself or with one of its patterns. A file that is named by
// itself is always followed.
func (f *finding) add(path string, table *Table, pattern int) {
	fi, err := os.Stat(path)
	if err != nil || !f.t.regular(path, fi) {
		return
	}
	c := candidate{path: path, table: table, key: keyOf(fi), info: fi, rank: f.tables[table] + pattern}
	if d, ok := f.found[c.key]; ok { // the same file under another name
		if c.before(&d) {
			c.begun = d.begun
			f.found[c.key] = c
		}
		return
	}
	c.begun = pattern == 0 || f.t.follows(c.key) || f.wasBegun(c.key.inode)
	if c.begun || f.begins(&c) {
		f.found[c.key] = c
	}
}

// begins reports whether a file that was not begun may be followed. What is kept of the others does
// not depend on how many there are.
func (f *finding) begins(c *candidate) bool {
	if v, ok := f.t.unfit[c.key]; ok && v.same(c.info) {
		f.unfit[c.key] = v
		return false
	}
	if older := c.table.IgnoreOlder; older > 0 && f.began.Sub(c.info.ModTime()) > older {
		f.ignored++
		return false
	}
	if f.others >= f.t.Follow {
		f.unclaimed++
		return false
	}
	f.others++
	return true
}

// follows reports whether a file is followed.
func (t *Tailer) follows(key fileKey) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.followers[key] != nil
}

// wasBegun reports whether something was sent of a file that is not followed, or perhaps of
// another file that had its inode.
func (f *finding) wasBegun(inode uint64) bool {
	if f.begun == nil {
		f.begun = make(map[uint64]bool)
		for _, m := range f.t.known() {
			if !m.Start {
				f.begun[m.inode] = true
			}
		}
	}
	return f.begun[inode]
}

// fresh returns the files that are not followed yet and may be: those that were begun, whatever
// their number, and others while there is room, in the order of the patterns.
func (f *finding) fresh() (list []candidate) {
	room := f.t.Follow
	var others []candidate
	for key, c := range f.found {
		switch {
		case !c.begun:
			others = append(others, c)
			continue
		case !f.t.follows(key):
			list = append(list, c)
		}
		room--
	}
	order := func(c, d candidate) int { return cmp.Or(cmp.Compare(c.rank, d.rank), strings.Compare(c.path, d.path)) }
	slices.SortFunc(others, order)
	room = max(0, min(room, len(others)))
	f.unclaimed += len(others) - room
	for _, c := range others[room:] {
		delete(f.found, c.key)
	}
	list = append(list, others[:room]...)
	slices.SortFunc(list, order)
	return list
}

// report notes and reports what the look did not find, and what it found and does not follow.
func (f *finding) report(s *sight) {
	t := f.t
	t.unfit = maps.Clone(f.unfit)
	t.counts.ignored.Store(uint64(f.ignored))
	t.counts.unclaimed.Store(uint64(f.unclaimed))
	t.counts.directories.Store(uint64(s.read))
	if f.unclaimed > 0 {
		t.limited.Error("files", "more files match than are followed at a time, and the others wait until some are "+
			"done; write narrower paths, set ignore_older, or raise max_files", "max_files", t.Follow,
			"waiting", f.unclaimed)
	}
	if s.cut {
		t.limited.Error("directories", "the patterns lead into more directories than one look reads, and files in "+
			"the others are not found; write narrower paths, or exclude directories, as in \"/srv/cache/**\"",
			"at_most", mostDirectories)
	}
}
