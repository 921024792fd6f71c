package tail

import (
	"errors"
	"os"
	"sync/atomic"
)

// A reload replaces the tables while files are followed, with the effect of a restart:
//
//   - New files are found by the next look.
//   - A file that no table names any more is sent to where it ended at the reload, up to its last
//     whole line, and is let go. Its saved position stays, and the stream at the collector, so that
//     it continues there if a table names it again.
//   - A file that a table names again is found under whatever name it has in its directory, as at a start.
//   - A file whose table has other settings is read with them from the place that is acknowledged.
//     What was read ahead is dropped and read again.
//
// A file that was renamed before the reload is that of the table that named it first.

// reloads is what a reload sets.
type reloads struct {
	inForce  atomic.Pointer[[]Table] // nil: the tables in the settings
	reloaded atomic.Bool             // there are other tables since the last look
}

// Reload makes other tables the ones in force. It may be called at any time.
func (t *Tailer) Reload(tables []Table) {
	t.inForce.Store(&tables)
	t.reloaded.Store(true)
}

// tables returns the tables in force. They are replaced, and never changed.
func (t *Tailer) tables() []Table {
	if tables := t.inForce.Load(); tables != nil {
		return *tables
	}
	return t.Tables
}

// namedBy returns the table in force that names a path, nil if none does.
func (t *Tailer) namedBy(path string) *Table {
	tables := t.tables()
	for i := range tables {
		if x := &tables[i]; x.lists(path) || !x.Excludes(path) && x.names(path) {
			return x
		}
	}
	return nil
}

// settlement is what a reload means for a follower. Under follower.mu.
type settlement struct {
	next     *Table // its file is read as this table says from now on; nil: nothing changed
	released bool   // no table names its file any more
	until    int64  // size of the file when it was released
}

// What a reload ends.
var (
	errReloaded = errors.New("the settings of the file's table changed")
	errReleased = errors.New("no table names the file any more, and all of it is acknowledged")
)

// settle tells a follower about the tables in force, after a look that found its file or did not; was: the look before
// it did. The file may have been renamed between the two.
func (f *follower) settle(c candidate, visible, was bool) {
	f.mu.Lock()
	label, now := f.label(), f.now
	f.mu.Unlock()
	s := settlement{next: f.t.namedBy(label)}
	switch {
	case s.next == nil && visible:
		s.next = c.table
	case s.next == nil:
		if was {
			now = f.nameNow(now, label)
		}
		fi, err := os.Stat(now)
		if err == nil && keyOf(fi) == f.key { // else it is drained and ends as any file without a name
			s.released, s.until = true, fi.Size()
		}
	}
	f.mu.Lock()
	f.settlement = s
	f.mu.Unlock()
	f.notify()
}

// settled returns what a reload ends: errReloaded, or errReleased once the file is drained. Only the
// follower's goroutine calls it.
func (f *follower) settled(drained bool) error {
	f.mu.Lock()
	s := f.settlement
	f.mu.Unlock()
	// One that was truncated is not drained: its copy is found first.
	drained = drained || f.place.local.Offset >= s.until && s.released && f.file.still(f.place.local.cursor)
	switch {
	case s.next != nil && s.next != f.table && s.next.Settings != f.table.Settings:
		return errReloaded
	case s.released && drained && !f.file.deleted():
		return errReleased
	}
	return nil
}

// isReleased reports whether no table names the file any more.
func (f *follower) isReleased() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.released
}

// adopt makes the file's new table the one that it is read with, before it is opened.
func (f *follower) adopt() {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := f.next
	if next == nil || next == f.table {
		return
	}
	changed := next.Settings != f.table.Settings
	if f.table = next; changed {
		f.source = next.source(f.label())
		f.file.decodeAs(next)
	}
}

// keepsStream reports whether the stream of a file that is let go does not end: the table that named it is gone, and
// the file exists, or another one has its name now. It continues when a table names it again. Until then the other
// one was not looked at: it may be a later version, which begins with what was sent.
func (f *follower) keepsStream() bool {
	f.mu.Lock()
	label := f.label()
	f.mu.Unlock()
	if f.t.namedBy(label) != nil {
		return false
	}
	if !f.file.deleted() {
		return true
	}
	_, err := os.Stat(label)
	f.attempts.strays = err == nil
	return err == nil
}
