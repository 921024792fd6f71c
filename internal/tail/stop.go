package tail

import (
	"bytes"
	"context"
	"os"
	"time"

	"fanin/internal/disk"
	"fanin/internal/lines"
)

// A stop loses nothing of a file that the next start finds: its lines stay in it. A file that
// was deleted, or moved to where no start looks, only this process can read. So a stop waits
// until the collector has the rest of such files, and reports what it does not have.

// Lost is what a stop lost of one file.
type Lost struct {
	Path   string
	Offset int64 // where the lost bytes begin
	Bytes  int64
	Lines  int64 // -1: too many bytes to count them
}

// finish waits until the rest of files that no start would find is acknowledged, StopWait at
// most.
func (t *Tailer) finish(ctx context.Context) {
	end := time.Now().Add(t.StopWait)
	tick := time.NewTicker(t.Poll)
	defer tick.Stop()
	for reported := false; ctx.Err() == nil; {
		files, unsent := t.atRisk()
		if files == 0 {
			return
		}
		if !reported {
			reported = true
			t.Log.Warn("waiting before the stop: files that were deleted, or moved to where no start looks, "+
				"have lines that the collector has not acknowledged",
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
		t.seekUnseen(ctx)
		t.wakeHidden()
	}
}

// atRisk counts the files of which a stop would lose lines.
func (t *Tailer) atRisk() (files int, unsent int64) {
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

// unsent returns how many bytes are not acknowledged, and where they begin.
func (f *follower) unsent() (from, n int64) {
	f.mu.Lock()
	from = f.place.local.Point.Offset
	f.mu.Unlock()
	return from, f.file.size() - from
}

// finder is how the next start finds a file.
type finder int

const (
	byNothing  finder = iota
	byName            // a table names it
	byPosition        // it is where its saved position says, under another name
)

// refound returns how the next start would find the file where it is now.
func (f *follower) refound() finder {
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
		return byPosition
	}
	return byNothing
}

// nameNow returns the file's name if it is where it was found, or in the directory where a
// table named it; otherwise "".
func (f *follower) nameNow(path, label string) string {
	is := func(fi os.FileInfo, err error) bool {
		return err == nil && fileKey{disk.Device(fi), disk.Inode(fi)} == f.key
	}
	if is(os.Stat(path)) {
		return path
	}
	if f.file.deleted() {
		return ""
	}
	for _, dir := range (&savedPosition{identity: identity{path: label, real: f.real}}).places() {
		if name := nameIn(dir, func(e os.DirEntry) bool { return is(e.Info()) }); name != "" {
			return name
		}
	}
	return ""
}

// ended is called at the end of a follower's goroutine. When all end, none is removed from
// the index.
func (t *Tailer) ended(ctx context.Context, f *follower) {
	if ctx.Err() == nil {
		t.drop(f)
		return
	}
	f.leave()
	f.drain()
	f.file.close()
}

// leave is called when a follower ends before its file. It makes sure that the next start
// finds the file, and records what no start would find.
func (f *follower) leave() {
	from, n := f.unsent()
	if n <= 0 || f.isArchive() {
		return
	}
	if f.refound() == byNothing {
		l := Lost{Path: f.path, Offset: from, Bytes: n}
		if l.Lines = f.file.countLines(from, n); l.Lines != 0 { // otherwise there are only NULs
			f.t.mu.Lock()
			f.t.lost = append(f.t.lost, l)
			f.t.mu.Unlock()
		}
		if from >= leastProof {
			return // what was sent of it shows which file is a copy
		}
	}
	f.seeText("", false)
	f.claim() // it may be renamed before the next start, or be gone, and what was not sent be in a copy
}

// mostCounted is how many bytes of a file are read at most to count its lines.
const mostCounted = 256 << 20

// countLines counts the lines in n bytes at from, including an unfinished last one; -1 if
// there are too many bytes, or they cannot be read.
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

// mostReported is how many files a stop reports one by one.
const mostReported = 20

// reportLost reports what the stop lost.
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
			t.Log.Error("lost: lines of more files like those above", "files", len(t.lost)-i, "bytes", sum.Bytes)
			return
		}
		t.Log.Error("lost: the file was deleted, or moved to where no start looks, "+
			"and the collector did not acknowledge its last lines in time", about...)
	}
}

// Lost returns what the end of Run lost. It is known when Run has returned.
func (t *Tailer) Lost() []Lost { return t.lost }
