package redis

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"fanin/internal/redistest"
	"fanin/internal/waittest"
)

// notices are the lines of the log's own with a word, in all its files.
func (h *house) notices(word string) (list []string) {
	h.t.Helper()
	files, err := filepath.Glob(filepath.Join(h.dir, "all*"))
	if err != nil {
		h.t.Fatal(err)
	}
	for _, f := range files {
		b, _ := os.ReadFile(f) // which retention may have removed
		for line := range strings.Lines(string(b)) {
			if strings.Contains(line, "fanin: "+word+" ") {
				list = append(list, line)
			}
		}
	}
	return list
}

// TestCursorGone: a list whose cursor alone is gone, deleted or evicted, gets nothing twice: the
// trouble says what to do, and both remedies work.
func TestCursorGone(t *testing.T) {
	for name, remedy := range map[string]string{"restored": `SET ([^ ]+) "([^"]+)"`, "removed": `DEL (\S+)`} {
		t.Run(name, func(t *testing.T) {
			s, dir := redistest.New(t), t.TempDir()
			h := open(t, dir, s, toList)
			h.put(5)
			h.finished()
			s.Do("DEL", h.out.target.(*list).cursor())
			h.troubled("it has ") // also while there are no lines
			h.put(2)
			h.troubled("maxmemory-policy noeviction")
			lines := h.lines
			h.close()
			h = open(t, dir, s, toList)
			h.lines = lines
			h.troubled("nothing is added")
			if n := len(h.stored()); n != 5 {
				t.Errorf("the list has %d lines", n)
			}
			words := regexp.MustCompile(remedy).FindStringSubmatch(h.out.Trouble())
			if words == nil {
				t.Fatalf("the trouble is %q", h.out.Trouble())
			}
			s.Do(append(strings.Fields(words[0])[:1:1], words[1:]...)...)
			h.want(h.lines)
			h.calm()
		})
	}
}

// TestListOfOthers: what others have in a list that was never written to does not matter, and a
// list that consumers have emptied is none that lost lines.
func TestListOfOthers(t *testing.T) {
	s := redistest.New(t)
	s.Do("RPUSH", "fanin", "of another program")
	h := open(t, t.TempDir(), s, toList)
	h.put(5)
	h.want(h.lines)
	h.finished()
	s.Do("DEL", "fanin")
	h.stop()
	h.carry(toList)
	h.put(1)
	h.want(h.lines[5:])
}

// rotate begins another file of the log.
func (h *house) rotate() {
	h.t.Helper()
	if _, err := h.sink.Rotate(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

// logFiles are the files of the log.
func (h *house) logFiles() int {
	files, _ := filepath.Glob(filepath.Join(h.dir, "all*"))
	return len(files)
}

// TestLostAndRemoved: what a server lost, and retention has removed, is reported, once. What the
// log still has is sent again.
func TestLostAndRemoved(t *testing.T) {
	for name, restart := range map[string]bool{"running": false, "restarted": true} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, change func(*Output)) {
				s := redistest.New(t)
				h := &house{t: t, dir: t.TempDir(), server: s, files: 1}
				h.open()
				h.carry(change)
				h.put(5)
				h.finished()
				s.Do("SAVE")
				h.put(5)
				h.finished()
				h.rotate()
				h.put(1)
				h.finished()
				if restart {
					h.stop()
				}
				h.rotate()
				waittest.UntilEqual(t, "files of the log", 2, h.logFiles)
				s.Kill()
				s.Start()
				h.put(2)
				if restart {
					h.carry(change)
				}
				kept := func() []string { return append(h.lines[:5:5], h.lines[10:]...) }
				h.want(kept())
				waittest.Until(t, "a notice", func() bool { return len(h.notices("LOST")) > 0 })
				h.calm()
				s.Do("CLIENT", "KILL", "TYPE", "normal")
				h.put(1)
				h.want(kept())
				h.finished()
				if n := h.notices("LOST"); len(n) != 1 || h.out.counts.lost.Load() != 1 {
					t.Errorf("the notices are %q", n)
				}
			})
		})
	}
}

// TestRemovedBeforeItWentOut: lines that retention removed before they were handed out are none
// that the server lost.
func TestRemovedBeforeItWentOut(t *testing.T) {
	both(t, func(t *testing.T, change func(*Output)) {
		s := redistest.New(t)
		h := &house{t: t, dir: t.TempDir(), server: s, files: 1}
		h.open()
		h.sink.Retention.HoldBytes = 1
		h.carry(change)
		h.put(5)
		h.finished()
		h.stop()
		h.put(5)
		h.rotate()
		h.put(1)
		h.rotate()
		waittest.UntilEqual(t, "files of the log", 2, h.logFiles)
		h.carry(change)
		h.want(append(h.lines[:5:5], h.lines[10:]...))
		h.finished()
		waittest.Until(t, "a notice of retention", func() bool { return len(h.notices("EXPIRED")) > 0 })
		if n := h.notices("LOST"); len(n) > 0 {
			t.Errorf("the notices are %q", n)
		}
	})
}

// TestLostBeforeGap: what the server had before lines that never went out, since retention removed
// them first or an operator left them out, is not sent again when the server loses it. That is
// reported.
func TestLostBeforeGap(t *testing.T) {
	for name, leaveOut := range map[string]func(h *house) error{
		"removed": func(h *house) error {
			h.rotate()
			h.put(1)
			h.rotate()
			waittest.UntilEqual(h.t, "files of the log", 2, h.logFiles)
			return nil
		},
		"left out": func(h *house) error {
			if err := h.sink.Checkpoint(h.t.Context()); err != nil {
				return err
			}
			_, err := h.work.Replay(h.t.Context(), "redis", "end")
			h.put(1)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, change func(*Output)) {
				s := redistest.New(t, "appendonly yes", "appendfsync always")
				h := &house{t: t, dir: t.TempDir(), server: s, files: 1}
				h.open()
				h.carry(change)
				h.put(5)
				h.finished()
				s.Kill()
				h.put(20_000) // more than are handed out at once
				h.troubled("connection refused")
				if err := leaveOut(h); err != nil {
					t.Fatal(err)
				}
				s.Start()
				h.finished()
				s.Do("FLUSHALL")
				waittest.Until(t, "a notice", func() bool { return len(h.notices("LOST")) > 0 })
				h.put(1)
				h.want(h.lines[20_005:])
				if n := h.notices("LOST"); len(n) != 1 {
					t.Errorf("the notices are %q", n)
				}
			})
		})
	}
}

// cut removes so many bytes from the end of the append-only file of a server that is down.
func cut(t *testing.T, s *redistest.Server, bytes int64) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(s.Dir(), "appendonlydir", "*.incr.aof"))
	if len(files) != 1 {
		t.Fatalf("the append-only files are %q", files)
	}
	info, err := os.Stat(files[0])
	if err == nil {
		err = os.Truncate(files[0], max(0, info.Size()-bytes))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestServerLosesItsLastSecond: with appendfsync everysec, a crash of the machine takes the end of
// the append-only file, at any byte. All that is gone with it is sent again, in its place, and
// reported.
func TestServerLosesItsLastSecond(t *testing.T) {
	both(t, func(t *testing.T, change func(*Output)) {
		s := redistest.New(t, "appendonly yes", "appendfsync everysec")
		h := open(t, t.TempDir(), s, change)
		rounds := 10
		if testing.Short() {
			rounds = 3
		}
		h.put(100)
		h.finished()
		for i := range rounds {
			for range 10 {
				h.put(20)
			}
			h.finished()
			s.Kill()
			cut(t, s, int64(1000+1777*i))
			h.put(10)
			s.Start()
			h.want(h.lines)
		}
		h.finished()
		waittest.Until(t, "a notice for each round", func() bool { return len(h.notices("RESENT")) >= rounds })
		if h.out.counts.resent.Load() == 0 || h.out.counts.lost.Load() > 0 {
			t.Errorf("%d lines were sent again", h.out.counts.resent.Load())
		}
	})
}
