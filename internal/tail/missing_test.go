package tail

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fanin/internal/wire"
)

func (r *rig) missing(n uint64) *rig {
	r.Helper()
	return r.await(func() bool { return r.tailer.Counts()["missing_files"] == n })
}

func (r *rig) ended() int {
	r.collector.mu.Lock()
	defer r.collector.mu.Unlock()
	return r.collector.ended
}

// TestMissingFileEnds: its stream ends when its directory was there without it for
// long enough.
func TestMissingFileEnds(t *testing.T) {
	r := newRig(t).append("a.log", "1\n").append("b.log", "2\n").run().expectSet("1 2")
	r.halt()
	os.Remove(r.path("a.log"))
	r.run().missing(1)
	r.halt()
	inner := r.change
	r.change = func(t *Tailer) { inner(t); t.Forget = 80 * time.Millisecond }
	r.run().missing(1).await(func() bool { return r.ended() == 1 }).missing(0)
	r.halt()
	r.run().append("b.log", "3\n").expectSet("1 2 3").missing(0)
	if n := len(r.collector.welcome().Streams); n != 1 {
		t.Errorf("the collector still knows %d streams", n)
	}
}

// TestMountedLate: while the directory of a file is not there, or is on another
// file system than it was, its stream is missing and does not end. When it is
// back, nothing is lost and nothing is sent twice.
func TestMountedLate(t *testing.T) {
	for _, empty := range []bool{false, true} { // the place where it is mounted: not there, or an empty directory
		r := newRig(t)
		mounted := t.TempDir()
		tree(t, mounted, "disk/app/a.log")
		at := r.path("mnt")
		if err := os.Rename(filepath.Join(mounted, "disk"), at); err != nil {
			t.Fatal(err)
		}
		r.change = func(t *Tailer) {
			t.Tables[0].Paths, t.Forget = []string{filepath.Join(at, "*", "*.log")}, 40*time.Millisecond
		}
		r.run().expect("x")
		r.halt()
		if err := os.Rename(at, filepath.Join(mounted, "disk")); err != nil {
			t.Fatal(err)
		}
		if empty {
			r.changePositions(func(m *savedPosition) { m.device, m.system = m.device+7, m.system+7 }) // the disk is not the one below it
			if err := os.MkdirAll(filepath.Join(at, "app"), 0o750); err != nil {
				t.Fatal(err)
			}
		}
		r.run().missing(1)
		r.polled(100) // several times what it takes to end
		if r.ended() != 0 {
			t.Fatalf("empty directory: %v: the stream ended", empty)
		}
		if empty {
			os.RemoveAll(at)
		}
		f, err := os.OpenFile(filepath.Join(mounted, "disk/app/a.log"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.WriteString("y\n")
		f.Close()
		if err := os.Rename(filepath.Join(mounted, "disk"), at); err != nil {
			t.Fatal(err)
		}
		r.expect("x y").missing(0)
	}
}

// TestAbsenceBeginsAnew when the directory was away in between: only an unbroken
// time counts.
func TestAbsenceBeginsAnew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	tree(t, dir, "a.log")
	tl := &Tailer{Settings: Settings{State: t.TempDir(), Out: newCollector(), Forget: time.Hour}}
	tl.defaults()
	tl.positions = &savedPositions{list: make(map[wire.StreamID]*savedPosition)}
	fi, err := os.Stat(filepath.Join(dir, "a.log"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := tl.open(candidate{path: filepath.Join(dir, "a.log"), table: &Table{}, key: keyOf(fi), info: fi})
	if err != nil {
		t.Fatal(err)
	}
	m := f.positionOf(wire.NewStreamID(), &localState{epoch: 1}, 0)
	f.file.close()
	tl.positions.put(m)
	os.Remove(m.path)
	tl.seekMissing(t.Context())
	a := tl.missing[m.Stream]
	if a == nil || a.since.IsZero() {
		t.Fatalf("%+v: the time does not run", a)
	}
	os.Remove(dir)
	tl.seekMissing(t.Context())
	if !a.since.IsZero() {
		t.Error("the time runs on without the directory")
	}
}

// TestDeletedAndCopied: a copy of a file that is gone continues its stream.
func TestDeletedAndCopied(t *testing.T) {
	old := numbered("old", 500)
	r := newRig(t)
	r.change = func(t *Tailer) { t.Tables[0].Paths = []string{r.path("app.log")} }
	r.append("app.log", old).run().expectSet(old)
	r.halt()
	os.Remove(r.path("app.log"))
	r.append("saved", old+"rest\n").run().expectSet(old + "rest").missing(0)
}

// TestNoLog: what is made up when it is read, or is no text, is refused with the
// reason.
func TestNoLog(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err == nil {
		r := newRig(t)
		r.change = func(t *Tailer) {
			t.Tables[0].Paths = []string{"/proc/self/status", "/sys/kernel/mm/transparent_hugepage/enabled", r.path("*")}
		}
		r.append("a.log", "1\n").run().expect("1").quiet("1")
		if n := r.tailer.Counts()["unfit_files"]; n == 0 || len(r.tailer.Status()) != 2 {
			t.Errorf("%d files are refused, and %d followed", n, len(r.tailer.Status()))
		}
	}
	for name, text := range map[string]string{
		"app.log.1": "\x1f\x8b\x08\x00binary\n", "system": "LPKSHHRH\x00\x00\n", "lastlog": strings.Repeat("\x00", 300) + "pts/0host\n", "wtmp": "\x07\x00\x00\n",
		"data": "SQLite format 3\x00\n", "app": "\x28\xb5\x2f\xfd\x00\n",
	} {
		r := newRig(t)
		r.change = func(t *Tailer) { t.Tables[0].Paths = []string{r.path("*")} }
		r.append(name, text).append("a.log", "1\n").run().expect("1").await(func() bool { return r.tailer.Counts()["unfit_files"] == 1 })
		r.halt()
		// A file that becomes one later is refused too.
		os.Remove(r.path(name))
		r.append(name, "").run().drained(2).append(name, text).await(func() bool { return r.tailer.Counts()["unfit_files"] == 1 }).quiet("1")
	}
	for name, text := range map[string]string{"lastlog": "a text\n", "app.log": "BZh is a word\n", "hole": "\x00\x00text\n"} {
		r := newRig(t)
		r.change = func(t *Tailer) { t.Tables[0].Paths = []string{r.path("*")} }
		r.append(name, text).run().await(func() bool { return len(r.collector.lines()) > 0 })
	}
}

// TestMadeUp: by behaviour alone, where the type of a file system is not known.
func TestMadeUp(t *testing.T) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	x := &descriptor{all: newDescriptors(1, slog.New(slog.DiscardHandler), new(atomic.Uint64)), file: f}
	if err := (&file{f: x}).checkFit("status"); err != errMadeUp {
		t.Errorf("%v", err)
	}
}

// TestNoLongerNamed: a file that is where it was, but that no table names any
// more, is neither followed nor missing.
func TestNoLongerNamed(t *testing.T) {
	r := newRig(t).append("a.log", "1\n").append("b.log", "2\n").run().expectSet("1 2")
	r.halt()
	r.change = func(t *Tailer) { t.Tables[0].Paths, t.Forget = []string{r.path("b.log")}, 20*time.Millisecond }
	r.append("a.log", "3\n").run().append("b.log", "4\n").expectSet("1 2 4").missing(0)
	if list := r.tailer.Status(); len(list) != 1 || r.tailer.Counts()["vanished_files"] != 0 {
		t.Errorf("%+v, %v", list, r.tailer.Counts())
	}
}

// TestMissingFileCoveredByAnother: the lines of a missing file are in one that is
// followed as its own stream. Nothing is left to wait for.
func TestMissingFileCoveredByAnother(t *testing.T) {
	text := numbered("same", 400)
	r := newRig(t).append("a.log", text).append("b.log", text).run().expectSet(text + text)
	r.halt()
	os.Remove(r.path("a.log"))
	r.run().missing(1)
	r.halt()
	inner := r.change
	r.change = func(t *Tailer) { inner(t); t.Forget = 80 * time.Millisecond }
	r.run().await(func() bool { return r.ended() == 1 }).missing(0)
	r.append("b.log", "more\n").expectSet(text + text + "more")
	r.halt()
	r.run().append("b.log", "last\n").expectSet(text + text + "more last").missing(0)
}
