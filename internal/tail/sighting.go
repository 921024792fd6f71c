package tail

import (
	"io/fs"
	"time"

	"fanin/internal/wire"
)

// sighting is what was last seen of a file: its names, and its text. Under follower.mu.
type sighting struct {
	visible bool      // some table names it
	now     string    // its name when it was last seen
	hidden  time.Time // since when no table names it
	lost    time.Time // since when it has another name than before; zero: it has not

	modified  time.Time // its modification time when it was last seen
	size      int64     // its size then
	begins    head      // how it began when that was last read
	begun     time.Time // its modification time when its text was first seen: since it was created, or shrank
	empty     time.Time // when it was last seen without text
	shrinks   int       // how often it was seen to have lost its text ...
	placed    int       // ... when the place in it was last agreed on
	sentSince time.Time // begun, of the text in which the place is; zero: not known
	unsought  time.Time // since when an earlier text may be in a copy that was not searched for; zero: there is none
	former    lostText
}

// see is called at each look with whether some table names the file, and as what. It returns whether one did at the
// last look.
func (f *follower) see(c candidate, visible bool) (was bool) {
	f.mu.Lock()
	if was = f.visible; was && !visible {
		f.hidden = time.Now()
	}
	renamed := false
	stream, label := f.place.stream, f.label()
	if f.visible = visible; visible {
		if renamed = f.now != c.path && !f.isChained(); renamed {
			f.lost = time.Now() // another file may have its old name now
		}
		f.now = c.path
		f.file.f.seen(c.path)
	}
	f.noteRotatedLocked()
	f.mu.Unlock()
	if renamed {
		f.t.positions.amend(stream, func(m *savedPosition) {
			if m.Now = c.path; c.path == label {
				m.Now = ""
			}
		})
	}
	if renamed || !visible || c.info.Size() != f.reading.eof.Load() {
		f.notify()
	}
	return was
}

// mostSkew is by how much the clock of a file system may differ from this machine's.
const mostSkew = 2 * time.Second

// isAsSeen reports whether the file looks as when it was last seen, which is now.
func (f *follower) isAsSeen(fi fs.FileInfo) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fi.Size() != f.size || !fi.ModTime().Equal(f.modified) {
		return false
	}
	if f.size == 0 {
		f.empty = time.Now()
	}
	return true
}

// unplacedLocked reports whether the stream has no place in the file's text: nothing of it was acknowledged.
func (f *follower) unplacedLocked() bool { return f.place.local.Offset == 0 || f.shrinks != f.placed }

// seeText notes what became of the file's text since it was last seen, and reports whether it changed. lost
// says that it does not hold what was sent of it; name is what the file is called now, "" if that is not known.
//
// The stream's place shows which file is a copy of a text that was lost. Where it had no place in that, only
// the beginning shows that the text is another one, and only names and times which file may be a copy. The
// beginning is compared, too, while the follower waits for something else than lines, for then it does not see
// that the place is lost, and further texts may be lost meanwhile.
func (f *follower) seeText(name string, lost bool) (changed bool) {
	fi, err := f.file.f.statRaw()
	if err != nil || f.isAsSeen(fi) && !lost {
		return false
	}
	f.mu.Lock()
	compare := f.unplacedLocked() || lost || fi.Size() < f.size || f.report.waits != ""
	f.mu.Unlock()
	var begins []wire.Hash
	if compare {
		begins = headsOf(f.file.head(headSize))
	}
	if f.noteText(fi, begins, name, lost) {
		f.remember()
	} else {
		f.noteMore()
	}
	return true
}

// noteMore saves that the file has more than was sent of it: if it is gone at the next start, that may be in a copy.
func (f *follower) noteMore() {
	f.mu.Lock()
	more, stream := f.size > f.place.local.Offset, f.place.stream
	f.mu.Unlock()
	if more {
		f.t.positions.amend(stream, func(m *savedPosition) { m.More = true })
	}
}

// noteText notes how the file's text looks now, and reports whether the stream has no place in it.
func (f *follower) noteText(fi fs.FileInfo, begins []wire.Hash, name string, lost bool) (unplaced bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	unplaced = f.unplacedLocked()
	if lost && f.shrinks == f.placed || fi.Size() < f.size || len(begins) > 0 && !f.begins.begins(begins) {
		if unplaced {
			f.noteReusedLocked(f.now, f.begun)
			if name != "" && name != f.now { // it was renamed before, or since
				f.noteReusedLocked(name, f.begun)
			}
		}
		f.begun, f.begins = fi.ModTime(), head{}
		f.shrinks++
	}
	if len(begins) > 0 {
		f.begins = headOf(begins)
	}
	if f.modified, f.size = fi.ModTime(), fi.Size(); f.size == 0 {
		f.empty = time.Now()
	} else { // its text began after the last look that saw none
		f.begun, f.empty = later(f.begun, f.empty.Add(-mostSkew)), time.Time{}
	}
	if f.place.local.Offset == 0 {
		f.file.begins.Store(nil) // it may begin otherwise, which no place shows
	}
	return f.unplacedLocked()
}

// countShrinks returns how often the file was seen to have lost its text.
func (f *follower) countShrinks() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.shrinks
}
