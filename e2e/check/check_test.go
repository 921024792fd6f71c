package check

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"fanin/e2e/load"
)

// text is n lines of source 7, laid out.
func text(n int) (lines [][]byte) {
	for i := range n {
		lines = append(lines, load.Append([]byte("2026-11-22T17:00:00.123456Z web app: "), 7, i))
	}
	return lines
}

func checked(lines [][]byte, sent int) Result {
	c := &checker{next: make(map[int]int), seen: make(map[int][]uint64), written: map[int]int{7: sent}}
	c.Read("test", bytes.NewReader(bytes.Join(lines, nil)))
	c.missing()
	return c.result
}

// TestCatches: each way in which a log can be wrong is found, and counted once.
func TestCatches(t *testing.T) {
	f := func(name string, spoil func(lines [][]byte) [][]byte, want Result) {
		t.Helper()
		got := checked(spoil(text(100)), 100)
		got.First, want.Lines = nil, got.Lines
		if got.String() != want.String() {
			t.Errorf("%s: got %v, want %v", name, &got, &want)
		}
	}
	f("nothing", func(l [][]byte) [][]byte { return l }, Result{})
	f("lost", func(l [][]byte) [][]byte { return slices.Delete(l, 50, 52) }, Result{Lost: 2})
	f("lost at the end", func(l [][]byte) [][]byte { return l[:99] }, Result{Lost: 1})
	f("doubled", func(l [][]byte) [][]byte { return slices.Insert(l, 60, l[10]) }, Result{Doubled: 1})
	f("swapped", func(l [][]byte) [][]byte { l[3], l[4] = l[4], l[3]; return l }, Result{Reordered: 1})
	f("torn", func(l [][]byte) [][]byte { l[5] = append(l[5][:20:20], '\n'); return l }, Result{Torn: 1, Lost: 1})
	f("glued", func(l [][]byte) [][]byte { l[5] = l[5][:len(l[5])-1]; return l }, Result{Torn: 1, Lost: 2})
	f("a changed byte", func(l [][]byte) [][]byte { l[9][60]++; return l }, Result{Torn: 1, Lost: 1})
	f("a NUL", func(l [][]byte) [][]byte { l[9] = append([]byte{0}, l[9]...); return l }, Result{Torn: 1, Lost: 1})
	f("no last newline", func(l [][]byte) [][]byte { l[99] = l[99][:len(l[99])-1]; return l }, Result{Torn: 1, Lost: 1})
	f("never sent", func(l [][]byte) [][]byte { return append(l, load.Append([]byte("t h s: "), 7, 100)) }, Result{Phantom: 1})
	f("a notice", func(l [][]byte) [][]byte { return append(l, []byte("t h fanin: RESUMED\n")) }, Result{Notices: 1})
}

// TestWatcherCatches: bytes that change or vanish behind a reader's back.
func TestWatcherCatches(t *testing.T) {
	f := func(name string, spoil func(path string), want int) {
		path := filepath.Join(t.TempDir(), "log")
		os.WriteFile(path, []byte("one\ntwo\n"), 0o640)
		w := Watch(path)
		time.Sleep(30 * time.Millisecond) // at least one look
		spoil(path)
		if changed, first := w.Result(); (changed > 0) != (want > 0) {
			t.Errorf("%s: %d bytes changed: %s", name, changed, first)
		}
	}
	f("nothing", func(string) {}, 0)
	f("appended", func(path string) {
		f, _ := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		f.WriteString("three\n")
		f.Close()
	}, 0)
	f("rotated", func(path string) { os.Rename(path, path+".1"); os.WriteFile(path, nil, 0o640) }, 0)
	f("shrunk", func(path string) { os.Truncate(path, 4) }, 1)
	f("changed", func(path string) {
		f, _ := os.OpenFile(path, os.O_WRONLY, 0)
		f.WriteAt([]byte("x"), 1)
		f.Close()
	}, 1)
}
