package tail

import (
	"bytes"
	"cmp"
	"context"
	"os"
	"path/filepath"
	"time"

	"fanin/internal/disk"
	"fanin/internal/lines"
)

// A stop loses nothing of a file that the next start finds: its lines wait in it.
// Of a file that was deleted, or moved where no start looks, this process has the
// only way in. So a stop waits for the collector to take the rest of such files,
// and reports what it did not take.

// Lost is what a stop lost of one file.
type Lost struct {
	Path   string
	Offset int64 // where the lost bytes begin
	Bytes  int64
	Lines  int64 // -1: too many bytes to count them
}

// finish waits for the rest of files that no start would find, at most StopWait.
func (t *Tailer) finish(ctx context.Context) {
	end := time.Now().Add(t.StopWait)
	tick := time.NewTicker(t.Poll)
	defer tick.Stop()
	for said := false; ctx.Err() == nil; {
		files, unsent := t.perishing()
		if files == 0 {
			return
		}
		if !said {
			said = true
			t.Log.Warn("waiting before the stop: files that were deleted, or moved where no start would look, have lines that the collector has not taken",
				"files", files, "bytes", unsent, "at_most", t.StopWait)
		}
		wait := time.Until(end)
		if wait <= 0 {
			return
		}
		select {
		case <-tick.C:
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		if t.Alive != nil {
			t.Alive()
		}
		t.look(ctx)
		t.pokeHidden()
	}
}

// perishing counts the files that a stop would lose lines of.
func (t *Tailer) perishing() (files int, unsent int64) {
	t.mu.Lock()
	all := t.allLocked()
	t.mu.Unlock()
	for _, f := range all {
		if _, n := f.unsent(); n > 0 && f.refound() == byNothing {
			files, unsent = files+1, unsent+n
		}
	}
	return files, unsent
}

// unsent is how many bytes the other side has not, and where they begin.
func (f *Follower) unsent() (from, n int64) {
	f.mu.Lock()
	from = f.place.local.Point.Offset
	f.mu.Unlock()
	return from, f.file.size() - from
}

// What leads the next start to a file.
type finder int

const (
	byNothing finder = iota
	byName           // a table names it
	byMark           // it lies where its mark says that it was, under another name
)

// refound says what would lead the next start to the file as it lies now.
func (f *Follower) refound() finder {
	f.mu.Lock()
	path, label := f.path, f.label()
	f.mu.Unlock()
	name := f.nameNow(path, label)
	switch {
	case name == "":
		return byNothing
	case f.t.names(name):
		return byName
	case name != label:
		return byMark
	}
	return byNothing
}

// nameNow is the file's name, as far as it is where it was found, or beside the
// place where a table named it; "" if it is not.
func (f *Follower) nameNow(path, label string) string {
	is := func(fi os.FileInfo, err error) bool {
		return err == nil && fileKey{disk.Device(fi), disk.Inode(fi)} == f.key
	}
	if is(os.Stat(path)) {
		return path
	}
	if f.file.deleted() {
		return ""
	}
	for _, dir := range (&mark{identity: identity{path: label, real: f.real}}).places() {
		entries, _ := os.ReadDir(dir) // none: then it is not there either
		for _, e := range entries {
			if is(e.Info()) {
				return filepath.Join(dir, e.Name())
			}
		}
	}
	return ""
}

// label is the name under which a table knew the file.
func (f *Follower) label() string { return cmp.Or(f.origin, f.path) }

// ended is the end of a follower's goroutine. When all end, none needs to be
// forgotten by itself.
func (t *Tailer) ended(ctx context.Context, f *Follower) {
	if ctx.Err() == nil {
		t.drop(f)
		return
	}
	f.leave()
	f.drain()
	f.file.close()
}

// leave is the end of a follower whose file is not done with. It sees to it that
// the next start finds the file, and notes what no start would find.
func (f *Follower) leave() {
	from, n := f.unsent()
	if n <= 0 {
		return
	}
	switch f.refound() {
	case byMark:
		f.claim()
		if f.t.marks.get(f.place.stream) == nil { // nothing of it was ever sent
			m := f.mark()
			m.Start = m.Start && m.Offset > 0
			f.t.marks.put(m)
		}
	case byNothing:
		l := Lost{Path: f.path, Offset: from, Bytes: n}
		if l.Lines = f.file.countLines(from, n); l.Lines != 0 { // else NULs alone
			f.t.mu.Lock()
			f.t.lost = append(f.t.lost, l)
			f.t.mu.Unlock()
		}
	}
}

// mostCounted is how many bytes of a file are read to count lines of it.
const mostCounted = 256 << 20

// countLines counts the lines in n bytes at from, an unfinished last one too; -1
// if there are too many bytes, or they cannot be read.
func (f *file) countLines(from, n int64) (count int64) {
	if n > mostCounted {
		return -1
	}
	block := make([]byte, min(n, 64<<10))
	unfinished := false
	for n > 0 {
		b := block[:min(n, int64(len(block)))]
		if got, _ := f.f.ReadAt(b, from); got < len(b) {
			return -1
		}
		count += int64(lines.Count(b))
		rest := b[bytes.LastIndexByte(b, '\n')+1:]
		unfinished = !allNUL(rest) || unfinished && len(rest) == len(b)
		from, n = from+int64(len(b)), n-int64(len(b))
	}
	if unfinished {
		count++
	}
	return count
}

// mostReported is how many files a stop names one by one.
const mostReported = 20

// reportLost says what the stop lost.
func (t *Tailer) reportLost() {
	for i, l := range t.lost {
		about := []any{"path", l.Path, "offset", l.Offset, "bytes", l.Bytes}
		if l.Lines >= 0 {
			about = append(about, "lines", l.Lines)
		}
		if i == mostReported {
			var sum Lost
			for _, l := range t.lost[i:] {
				sum.Bytes += l.Bytes
			}
			t.Log.Error("lost, as above: lines of more files", "files", len(t.lost)-i, "bytes", sum.Bytes)
			return
		}
		t.Log.Error("lost: the file was deleted, or moved where no start would look, and the collector did not take its last lines in time", about...)
	}
}

// Lost is what the end of Run lost. It is known when Run has returned.
func (t *Tailer) Lost() []Lost { return t.lost }
