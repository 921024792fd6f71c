package sink

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"fanin/internal/disk"
	"fanin/internal/waittest"
)

// left is what a collector left behind that was killed: "one" and "two" are below its
// last checkpoint, "three" is in a frame behind it.
type left struct {
	*testing.T
	path, state string
	text        string // of the frame
	inode       uint64
}

// leave makes what a killed collector leaves, with the frame's text in the file or not.
func leave(t *testing.T, mode string, inFile bool) *left {
	var stop atomic.Bool
	s := &Sink{Path: filepath.Join(t.TempDir(), "all.log"), Sync: mode, Retention: RetentionPolicy{Compress: "none"},
		env: environment{walSize: 1 << 20}}
	s.Disk = &disk.Disk{Fault: func(op disk.Op, path string) (int, error) {
		if stop.Load() && op == disk.OpWrite && (path == s.Path && !inFile || filepath.Base(path) == checkpointName) {
			return 0, errCrash
		}
		return 0, nil
	}}
	must(t, s.Open(context.Background()))
	src := newSource()
	src.send(t, s, "one", "two")
	must(t, s.Checkpoint(context.Background()))
	stop.Store(true)
	src.send(t, s, "three")
	s.Close(context.Background())
	l := &left{T: t, path: s.Path, state: s.State, inode: s.view.catalog.live().inode}
	sl, err := readCheckpoint(s.State)
	must(t, err)
	r := &recovery{s: s, slot: sl}
	must(t, r.readFrames())
	for i := range r.redo {
		l.text += string(r.redo[i].text)
	}
	return l
}

// remove takes the file out of the directory. It is not deleted, so that no new file
// gets its inode.
func (l *left) remove() {
	l.Helper()
	must(l.T, os.Rename(l.path, filepath.Join(l.TempDir(), "removed")))
}

// slot changes the checkpoint.
func (l *left) slot(change func(*checkpointSlot)) {
	l.Helper()
	sl, err := readCheckpoint(l.state)
	must(l.T, err)
	change(sl)
	b, err := sl.encode()
	must(l.T, err)
	f, err := os.OpenFile(filepath.Join(l.state, checkpointName), os.O_RDWR, 0)
	must(l.T, err)
	defer f.Close()
	_, err = f.WriteAt(b, int64(sl.Seq%2)*blockSize)
	must(l.T, err)
}

func (l *left) removeState()      { must(l.T, os.RemoveAll(l.state)) }
func (l *left) truncate()         { must(l.T, os.Truncate(l.path, 1)) }
func (l *left) rotate()           { must(l.T, os.Rename(l.path, l.backup())) }
func (l *left) reboot()           { l.slot(func(s *checkpointSlot) { s.Boot = "another" }) }
func (l *left) rotating()         { l.slot(func(s *checkpointSlot) { s.Rotating = true }) }
func (l *left) write(text string) { must(l.T, os.WriteFile(l.path, []byte(text), 0o640)) }
func (l *left) writeBackup()      { must(l.T, os.WriteFile(l.backup(), []byte(foreign), 0o640)) }
func (l *left) backup() string {
	return strings.TrimSuffix(l.path, ".log") + "-2026-11-25T00-00-00.000.log"
}
func (l *left) append(text string) {
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_WRONLY, 0)
	must(l.T, err)
	defer f.Close()
	_, err = f.WriteString(text)
	must(l.T, err)
}

const foreign = "2026-11-25T00:00:00.000000Z web app: foreign\n"

// TestOutcomes walks through the table of outcomes, row by row: each is reached, and
// leaves a log that holds every line that can be held, once.
func TestOutcomes(t *testing.T) {
	type situation struct {
		row    string // of outcomes
		mode   string
		inFile bool // the frame's text
		do     func(l *left)
		lines  string
	}
	all := []situation{
		{"no state, but files", syncCommit, false, (*left).removeState, "one two"},
		{"no state", syncCommit, false, func(l *left) { l.removeState(); l.remove() }, ""},
		{"reboot, file gone", syncNone, true, func(l *left) { l.reboot(); l.remove() }, ""},
		{"reboot", syncNone, true, (*left).reboot, "one two three"},
		{"reboot", syncNone, true, func(l *left) { l.reboot(); l.rotate() }, "one two three"},
		{"intact", syncCommit, true, func(*left) {}, "one two three"},
		{"intact", syncCommit, false, func(*left) {}, "one two three"},
		{"intact", syncNone, false, (*left).rotating, "one two three"},
		{"rotated", syncCommit, true, func(l *left) { l.rotating(); l.rotate() }, "one two three"},
		{"moved or extended", syncCommit, false, (*left).rotate, "one two three"},
		{"moved or extended", syncCommit, true, func(l *left) { l.append(foreign) }, "one two three foreign"},
		{"moved or extended", syncCommit, true, func(l *left) { l.rotating(); l.append(foreign); l.rotate() }, "one two three foreign"},
		{"incomplete", syncCommit, true, (*left).truncate, "three"},
		{"incomplete", syncCommit, false, func(l *left) { l.append(foreign) }, "one two foreign three"},
		{"incomplete, tail written", syncCommit, true, func(l *left) { l.truncate(); l.rotate(); l.write(l.text) }, "three"},
		{"gone", syncCommit, true, (*left).remove, "three"},
		{"gone", syncCommit, true, func(l *left) { l.remove(); l.write("") }, "three"},
		{"gone, other files", syncCommit, true, func(l *left) { l.remove(); l.write(foreign) }, "foreign"},
		{"gone, other files", syncCommit, true, func(l *left) { l.remove(); l.writeBackup() }, "foreign"},
		{"gone, tail written", syncCommit, true, func(l *left) { l.remove(); l.write(l.text) }, "three"},
		{"gone, tail written", syncCommit, true, func(l *left) { l.remove(); l.write(l.text); l.writeBackup() }, "foreign three"},
	}
	for i, row := range outcomes {
		if !slices.ContainsFunc(all, func(s situation) bool { return s.row == row.name }) {
			t.Errorf("no test for row %d, %q", i, row.name)
		}
	}
	for _, s := range all {
		t.Run(s.row, func(t *testing.T) {
			l := leave(t, s.mode, s.inFile)
			s.do(l)
			l.open(s.row, s.mode, strings.Fields(s.lines))
		})
	}
}

// open opens the log and compares with what a row of the table says.
func (l *left) open(row, mode string, lines []string) {
	l.Helper()
	before, err := readCheckpoint(l.state)
	must(l.T, err)
	chosen := ""
	s := open(l.T, &Sink{Path: l.path, Sync: mode, Retention: RetentionPolicy{Compress: "none"},
		env: environment{walSize: 1 << 20, recovered: func(name string) { chosen = name }}})
	if chosen != row {
		l.Fatalf("decided by row %q, want %q", chosen, row)
	}
	want := outcomes[slices.IndexFunc(outcomes, func(r outcomeRow) bool { return r.name == row })].outcome
	slices.Sort(lines)
	got := bodies(l.T, s)
	slices.Sort(got)
	if !slices.Equal(got, lines) {
		l.Errorf("the log holds %q, want %q", got, lines)
	}
	live := s.view.catalog.live()
	if same := live.inode == l.inode; same != want.same {
		l.Errorf("continues in the same file: %v, want %v", same, want.same)
	}
	if before != nil {
		if fresh := welcomed(s, "a").Incarnation.String() != before.LogIncarnation; fresh != want.newIncarnation {
			l.Errorf("new incarnation: %v, want %v", fresh, want.newIncarnation)
		}
		for _, g := range s.Status().Generations {
			if g.Number == before.Generation && want.sealed != "" && g.State != want.sealed {
				l.Errorf("generation %d is %s, want %s", g.Number, g.State, want.sealed)
			}
		}
	}
	if want.notice != "" {
		waittest.Until(l.T, "the notice", func() bool { return strings.Contains(logText(l.T, s), "fanin: "+want.notice) })
	} else if n := s.counts.notices.posted.Load(); n > 0 {
		l.Errorf("%d notices", n)
	}
	newSource().send(l.T, s, "and on")
	must(l.T, s.Close(context.Background()))
	if v, err := Verify(context.Background(), l.path, l.state); want.same && (err != nil || !v.OK()) {
		l.Errorf("verify: %v, %q", err, v.Problems)
	}
}

// TestTruncatedWhileStopped: a file that became shorter is not continued, also when no
// frame waits for it: positions in it would mean other lines than before.
func TestTruncatedWhileStopped(t *testing.T) {
	s := open(t, &Sink{Retention: RetentionPolicy{Compress: "none"}})
	newSource().send(t, s, "one", "two")
	must(t, s.Close(context.Background()), os.Truncate(s.Path, 0))
	s = open(t, &Sink{Path: s.Path, Retention: RetentionPolicy{Compress: "none"}})
	newSource().send(t, s, "three")
	expectLines(t, s, "three")
	if g := s.End().Generation; g != 2 {
		t.Errorf("generation %d, want 2", g)
	}
	waittest.Until(t, "the notice", func() bool { return strings.Contains(logText(t, s), "fanin: INTERFERENCE file=") })
}

// TestRecoverLargeFile: a start does not read the whole live file into memory.
func TestRecoverLargeFile(t *testing.T) {
	const size = 128 << 20
	for _, clean := range []bool{true, false} {
		l := leave(t, syncCommit, true)
		if clean { // no frame waits
			must(t, open(t, &Sink{Path: l.path, env: environment{walSize: 1 << 20}}).Close(context.Background()))
		}
		must(t, os.Truncate(l.path, size)) // sparse
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		s := open(t, &Sink{Path: l.path, Retention: RetentionPolicy{Compress: "none"},
			env: environment{walSize: 1 << 20}})
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > size/4 {
			t.Errorf("clean %v: opening a file of %d bytes takes %d bytes of memory", clean, size, n)
		}
		must(t, s.Close(context.Background()))
	}
}

// TestRebootWithoutTable: after a reboot in mode none, the table may be damaged: nothing
// of it was ever synced. The lines of the files are kept all the same, in their order.
func TestRebootWithoutTable(t *testing.T) {
	for _, rotated := range []bool{false, true} {
		l := leave(t, syncNone, true)
		l.reboot()
		if rotated {
			l.rotate()
		}
		sl, err := readCheckpoint(l.state)
		must(t, err, os.Truncate(catalogLogName(l.state, sl.CatalogLog), 1))
		must(t, os.WriteFile(strings.Replace(l.backup(), "2026", "2025", 1), []byte(foreign), 0o640))
		l.open("reboot", syncNone, []string{"one", "two", "three", "foreign"})
		s := open(t, &Sink{Path: l.path, Sync: syncNone})
		if got := bodies(t, s); !slices.Equal(got, []string{"foreign", "one", "two", "three", "and on"}) {
			t.Errorf("rotated %v: the log holds %q", rotated, got)
		}
	}
}
