package check

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"fanin/e2e/load"
	"fanin/sink"
)

// watched is a log with a few lines, which a watcher has seen.
func watched(t *testing.T) (path string, w *Watcher) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "all.log")
	if err := os.WriteFile(path, bytes.Join(text(50), nil), 0o640); err != nil {
		t.Fatal(err)
	}
	w = Watch(path)
	w.now()
	return path, w
}

var (
	live = []sink.Generation{{Name: "all.log", State: "live"}}
	both = []sink.Generation{{Name: "all-1.log", State: "gzip"}, {Name: "all.log", State: "live"}}
)

// TestWatcherCatches: bytes that change or vanish behind a reader's back.
func TestWatcherCatches(t *testing.T) {
	f := func(name string, spoil func(path string) []sink.Generation, bad bool) {
		t.Helper()
		path, w := watched(t)
		found, err := w.Result(spoil(path))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if found.Bytes == 0 || (found.Changed > 0) != bad || (found.First != "") != bad {
			t.Errorf("%s: %+v", name, found)
		}
	}
	write := func(path string, at int64, b []byte) []sink.Generation {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		f.WriteAt(b, at)
		return live
	}
	archive := func(path string, text []byte) []sink.Generation {
		pack(t, filepath.Join(filepath.Dir(path), "all-1.log.gz"), text)
		os.Remove(path)
		os.WriteFile(path, load.Append([]byte(prefix), 8, 0), 0o640)
		return both
	}
	whole := bytes.Join(text(50), nil)
	last := int64(len(whole))
	f("nothing", func(string) []sink.Generation { return live }, false)
	f("appended", func(path string) []sink.Generation { return write(path, last, []byte("three\n")) }, false)
	f("a byte", func(path string) []sink.Generation { return write(path, 1000, []byte{'#'}) }, true)
	f("the last byte", func(path string) []sink.Generation { return write(path, last-1, []byte{'#'}) }, true)
	f("shrunk", func(path string) []sink.Generation { os.Truncate(path, last-1); return live }, true)
	f("packed", func(path string) []sink.Generation { return archive(path, append(whole, "more\n"...)) }, false)
	f("packed, one line short", func(path string) []sink.Generation { return archive(path, whole[:last-50]) }, true)
	f("packed, a byte changed", func(path string) []sink.Generation {
		return archive(path, append(bytes.Clone(whole[:last-1]), '#'))
	}, true)
	f("moved aside", func(path string) []sink.Generation {
		os.Rename(path, path+".1")
		return []sink.Generation{{State: "lost"}}
	}, false)
}

// TestWatcherSeesShrinking: a file that shrinks and grows again the same.
func TestWatcherSeesShrinking(t *testing.T) {
	path, w := watched(t)
	os.Truncate(path, 10)
	w.Pause()
	os.WriteFile(path, bytes.Join(text(50), nil), 0o640)
	w.Go()
	if found, err := w.Result(live); err != nil || found.Changed == 0 {
		t.Errorf("%+v, %v", found, err)
	}
}

// TestWatcherAfterPause: files that were let go meanwhile are known again, and
// missed when they are gone.
func TestWatcherAfterPause(t *testing.T) {
	f := func(name string, meanwhile func(path string), bad bool) {
		t.Helper()
		path, w := watched(t)
		w.Pause()
		os.WriteFile(filepath.Join(filepath.Dir(path), "all-1.log"), nil, 0o640)
		meanwhile(path)
		w.Go()
		if found, err := w.Result(both); err != nil || (found.Changed > 0) != bad {
			t.Errorf("%s: %+v, %v", name, found, err)
		}
	}
	f("nothing", func(string) {}, false)
	f("shrunk", func(path string) { os.Truncate(path, 200) }, true)
	f("gone", func(path string) { os.Remove(path); os.WriteFile(path, []byte("others\n"), 0o640) }, true)
	f("rotated", func(path string) {
		os.Rename(path, filepath.Join(filepath.Dir(path), "all-1.log"))
		os.WriteFile(path, load.Append([]byte(prefix), 8, 0), 0o640)
	}, false)
}

// TestWatcherRenameUndone: a power cut may come between a rotation and its sync.
func TestWatcherRenameUndone(t *testing.T) {
	path, w := watched(t)
	aside := filepath.Join(filepath.Dir(path), "all-1.log")
	os.Rename(path, aside)
	os.WriteFile(path, nil, 0o640)
	w.now()
	w.Pause()
	os.Rename(aside, path)
	w.Go()
	w.now()
	os.Rename(path, aside)
	os.WriteFile(path, load.Append([]byte(prefix), 8, 0), 0o640)
	if found, err := w.Result(both); err != nil || found.Changed > 0 || found.Bytes == 0 {
		t.Errorf("%+v, %v", found, err)
	}
}

// TestTailCatches: the real tail prints lines twice when a file shrinks.
func TestTailCatches(t *testing.T) {
	if _, err := exec.LookPath("tail"); err != nil {
		t.Skip("tail is not installed")
	}
	f := func(name string, spoil func(path string), lines int64, bad bool) {
		path := filepath.Join(t.TempDir(), "all.log")
		os.WriteFile(path, bytes.Join(text(50), nil), 0o640)
		tail, err := StartTail(path)
		if err != nil {
			t.Fatal(err)
		}
		tail.await(t, 50)
		spoil(path)
		tail.await(t, lines)
		if n, doubled, first := tail.End(); (doubled > 0) != bad || (first != "") != bad {
			t.Errorf("%s: %d lines, %d of them twice: %s", name, n, doubled, first)
		}
	}
	f("nothing", func(string) {}, 50, false)
	f("rotated", func(path string) {
		os.Rename(path, path+".1")
		os.WriteFile(path, bytes.Join(text(60)[50:], nil), 0o640)
	}, 60, false)
	f("shrunk", func(path string) { os.Truncate(path, int64(len(bytes.Join(text(49), nil)))) }, 99, true)
}

// await waits until tail has printed so many lines.
func (t *Tail) await(test *testing.T, lines int64) {
	test.Helper()
	for end := time.Now().Add(20 * time.Second); t.lines.Load() < lines; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			test.Fatalf("tail printed %d lines, want %d", t.lines.Load(), lines)
		}
	}
}
