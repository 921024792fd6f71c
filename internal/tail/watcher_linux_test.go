package tail

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// append adds a line to a file.
func appendLine(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("a line\n"); err != nil {
		t.Fatal(err)
	}
}

// TestBusyDirectory: where few files of a directory are followed, writes to the others wake nothing;
// where many are, they all are heard over the directory. New files are heard in both.
func TestBusyDirectory(t *testing.T) {
	f := func(followed int, apart bool) {
		t.Run(fmt.Sprint(followed), func(t *testing.T) {
			dir := t.TempDir()
			written := make(chan string, 10_000)
			h := newHints(func(path string) { written <- path })
			defer h.close()
			if h.watcher == nil {
				t.Skip("this machine gives no hints")
			}
			var all []*follower
			for n := range followed {
				path := filepath.Join(dir, fmt.Sprintf("%d.log", n))
				appendLine(t, path)
				all = append(all, &follower{wake: make(chan struct{}, 1), location: location{path: path, dir: dir}, sighting: sighting{now: path}})
			}
			other := filepath.Join(dir, "other.txt")
			appendLine(t, other)
			h.choose(map[string][]*follower{dir: all})
			h.watch(&sight{dirs: map[string]bool{dir: true}, whole: true})
			if h.apart[dir] != apart {
				t.Fatalf("watched one by one: %v, want %v", h.apart[dir], apart)
			}
			last := all[len(all)-1]
			if apart {
				<-last.wake // it may have been written to before it was watched
			}
			const writes = 100
			for range writes {
				appendLine(t, other)
			}
			appendLine(t, last.path)
			if !apart {
				others := 0 // the kernel may report several writes as one
				for path := <-written; path != last.path; path = <-written {
					others++
				}
				if others == 0 {
					t.Error("writes to another file were not heard")
				}
				return
			}
			<-last.wake
			if n := h.watcher.heard.Load(); n != 1 {
				t.Errorf("%d reports, want that of the file that is followed", n)
			}
			if h.hear(); h.stale != true {
				t.Fatal("a directory that is new to the hints needs another look")
			}
			h.stale = false
			renamed := last.path + ".1"
			if err := os.Rename(last.path, renamed); err != nil {
				t.Fatal(err)
			}
			appendLine(t, renamed)
			<-last.wake
			if h.hear(); !h.stale {
				t.Error("a file was renamed, and no other look is due")
			}
			h.choose(map[string][]*follower{dir: all[:followed-1]})
			h.watcher.mu.Lock()
			n := len(h.watcher.own)
			h.watcher.mu.Unlock()
			if n != followed-1 {
				t.Errorf("%d files are watched, want %d", n, followed-1)
			}
		})
	}
	f(fewFiles, true)
	f(fewFiles+1, false)
}

// TestWatchedAgain: a file has another follower before the watch of the first one ended. The kernel has one watch for
// the file, and what is written to it is still heard.
func TestWatchedAgain(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	appendLine(t, path)
	h := newHints(func(string) {})
	defer h.close()
	if h.watcher == nil {
		t.Skip("this machine gives no hints")
	}
	var last *follower
	for range 3 {
		last = &follower{wake: make(chan struct{}, 1), location: location{path: path, dir: dir}, sighting: sighting{now: path}}
		h.choose(map[string][]*follower{dir: {last}})
		<-last.wake // it may have been written to before it was watched
	}
	h.watcher.mu.Lock()
	own, files := len(h.watcher.own), len(h.watcher.files)
	h.watcher.mu.Unlock()
	if own != 1 || files != 1 {
		t.Fatalf("%d followers have a watch, %d watches have a follower; want one", own, files)
	}
	appendLine(t, path)
	<-last.wake
}
