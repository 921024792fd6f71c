package tail

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fanin/internal/wire"
)

// replace puts a new file in a file's place, as rsync, sed -i and editors do.
func (r *rig) replace(name, text string) *rig {
	r.Helper()
	if err := os.WriteFile(r.path("new version"), []byte(text), 0o640); err != nil {
		r.Fatal(err)
	}
	return r.rename("new version", name)
}

// rewrite writes a file anew in place, as other editors do.
func (r *rig) rewrite(name, text string) *rig {
	r.Helper()
	if err := os.WriteFile(r.path(name), []byte(text), 0o640); err != nil {
		r.Fatal(err)
	}
	return r
}

// cut takes a line out of a text.
func cut(text string, line int) string {
	all := strings.SplitAfter(text, "\n")
	return strings.Join(append(all[:line:line], all[line+1:]...), "")
}

// TestReplacedByAnotherVersion: what both versions of a file have is sent once,
// whether the new one is a new file or the old one written anew, while the agent
// runs or is away.
func TestReplacedByAnotherVersion(t *testing.T) {
	old := numbered("old", 2000)
	for name, change := range map[string]func(r *rig, text string) *rig{
		"new file": func(r *rig, text string) *rig { return r.replace("a.log", text) },
		"in place": func(r *rig, text string) *rig { return r.rewrite("a.log", text) },
		"removed, then written": func(r *rig, text string) *rig {
			os.Remove(r.path("a.log"))
			return r.rewrite("a.log", text)
		},
	} {
		for what, text := range map[string]string{
			"longer":                 old + "new\n",
			"a line taken away":      cut(old, 1000) + "new\n",
			"a line put in":          strings.Replace(old, "old.7\n", "old.7\nan editor's line\n", 1) + "new\n",
			"the last lines alone":   old[len(old)-6000:][strings.Index(old[len(old)-6000:], "\n")+1:] + "new\n",
			"longer, line by line":   "",
			"as it was, then longer": old,
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				if name != "new file" { // between its beginning and its end a version is not complete for four looks at most
					r.change = func(t *Tailer) { t.Poll = 100 * time.Millisecond }
				}
				r.append("a.log", old).run().expectSet(old)
				switch {
				case text == "" && name != "in place":
					return
				case text == "": // the editor is slow
					f, err := os.Create(r.path("a.log"))
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
					for part := range strings.Lines(old) {
						if strings.HasSuffix(part, "00\n") {
							time.Sleep(time.Millisecond)
						}
						f.WriteString(part)
					}
					f.WriteString("new\n")
				default:
					change(r, text)
				}
				if text == old {
					r.append("a.log", "new\n")
				}
				r.expectSet(old + "new")
				r.append("a.log", "later\n").expectSet(old + "new later")
				r.halt()
				r.append("a.log", "at last\n").run().expectSet(old + "new later at last")
			})
		}
	}
}

// TestReplacedAgain: each version resumes where the previous one stopped, also
// while earlier ones are still watched.
func TestReplacedAgain(t *testing.T) {
	r := newRig(t)
	r.change = func(t *Tailer) { t.Grace, t.Settle = time.Minute, time.Minute } // neither is waited for
	text := numbered("old", 500)
	r.append("a.log", text).run().expectSet(text)
	for i := range 4 {
		text += fmt.Sprintf("new.%d\n", i)
		r.replace("a.log", text).expectSet(text)
	}
	for i := range 4 {
		text += fmt.Sprintf("seen.%d\n", i)
		r.append(".a.log.tmp", text).await(func() bool {
			return slices.ContainsFunc(r.tailer.Status(), func(f FileStatus) bool { return strings.HasSuffix(f.Path, ".a.log.tmp") })
		})
		r.rename(".a.log.tmp", "a.log").expectSet(text)
	}
}

// TestReplacedWhileAway: no process ran when another version replaced the file.
func TestReplacedWhileAway(t *testing.T) {
	old := numbered("old", 20000) // more than two points of a trail
	for name, keepState := range map[string]bool{"state kept": true, "state lost": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.change = func(t *Tailer) { t.BatchBytes, t.MaxLine = 64<<10, 4<<10 }
			r.append("a.log", old).run().expectSet(old)
			r.halt()
			if !keepState {
				r.state = t.TempDir()
			}
			longer := old + "new\n"
			r.replace("a.log", longer).run().expectSet(longer)
			r.halt()
			// Where the change is behind a point of the trail, only what is behind it is
			// sent again, and that is counted.
			r.replace("a.log", cut(longer, 19000)+"last\n").run().await(func() bool { return strings.HasSuffix(r.collector.lines(), "last") })
			again := uint64(len(strings.Fields(r.collector.lines())) - 20002)
			if counted := r.tailer.Counts()["maybe_doubled_bytes"]; again > 15000 || counted < again*9 {
				t.Errorf("%d lines were sent again, and %d bytes are counted", again, counted)
			}
		})
	}
}

// TestShortFileReplacedWhileAway: without a trail, the place before the saved position decides.
func TestShortFileReplacedWhileAway(t *testing.T) {
	old := numbered("old", 500)
	r := newRig(t).append("a.log", old).run().expectSet(old)
	r.halt()
	r.replace("a.log", old+"new\n").run().expectSet(old + "new")
}

// TestRotatedFileThatBeginsAlike: a program that begins each of its files with the
// same long text has its new file sent from the start.
func TestRotatedFileThatBeginsAlike(t *testing.T) {
	head := strings.Repeat("the same first lines in every file of this program\n", 40)
	for _, gone := range []bool{false, true} {
		r := newRig(t).append("a.log", head+"one\n").run()
		want := strings.Fields(head + "one\n")
		r.expect(strings.TrimSuffix(strings.ReplaceAll(head+"one\n", "\n", " "), " "))
		if gone {
			os.Remove(r.path("a.log"))
		} else {
			r.rename("a.log", "old")
		}
		r.append("a.log", head+"two\n").await(func() bool { return strings.HasSuffix(r.collector.lines(), " two") })
		if got := strings.Fields(r.collector.lines()); len(got) != 2*len(want) {
			t.Errorf("file gone: %v: %d words, want %d", gone, len(got), 2*len(want))
		}
	}
}

// TestRotatedFileThatRepeatsItself: equal lines are not mistaken for sent ones.
func TestRotatedFileThatRepeatsItself(t *testing.T) {
	r := newRig(t).append("a.log", strings.Repeat("ok\n", 5000)).run()
	sent := func(n int) func() bool { return func() bool { return len(strings.Fields(r.collector.lines())) == n } }
	r.await(sent(5000))
	r.rename("a.log", "old").replace("a.log", strings.Repeat("ok\n", 6000)).await(sent(11000))
	os.Remove(r.path("a.log"))
	r.replace("a.log", strings.Repeat("ok\n", 7000)).await(sent(18000))
}

// TestUnfinishedLineOfAReplacedFile is sent once, whole.
func TestUnfinishedLineOfAReplacedFile(t *testing.T) {
	old := numbered("old", 2000)
	r := newRig(t)
	r.change = func(t *Tailer) { t.Grace = 500 * time.Millisecond }
	r.append("a.log", old+"unfin").run().expectSet(old)
	r.replace("a.log", old+"unfinished\n").expectSet(old + "unfinished")
	r.await(func() bool { return len(r.tailer.Status()) == 1 }) // the old file is let go
	r.expectSet(old + "unfinished")
}

// TestTruncatedToAPrefix: only what is behind the last point of the trail that is
// still there may come again, and that is counted.
func TestTruncatedToAPrefix(t *testing.T) {
	r := newRig(t)
	r.change = func(t *Tailer) { t.BatchBytes, t.MaxLine = 64<<10, 4<<10 }
	old := numbered("old", 40000)
	r.append("a.log", old).run().expectSet(old)
	at := strings.Index(old, "old.39000\n")
	if err := os.Truncate(r.path("a.log"), int64(at)); err != nil {
		t.Fatal(err)
	}
	r.append("a.log", "new\n").await(func() bool { return strings.HasSuffix(r.collector.lines(), "new") })
	again := len(strings.Fields(r.collector.lines())) - 40001
	counted := r.tailer.Counts()["maybe_doubled_bytes"]
	if again < 0 || again > 35000 || counted < uint64(again)*9 {
		t.Errorf("%d of 39,000 lines were sent again, and %d bytes are counted", again, counted)
	}
}

// TestRegrownWhileSending: the file is truncated and grows beyond where it was
// while a batch is being sent. What is at the old offset now is not mistaken for
// what followed.
func TestRegrownWhileSending(t *testing.T) {
	r := newRig(t)
	r.change = func(t *Tailer) { t.Memory, t.BatchBytes, t.MaxLine = 300<<10, 256<<10, 4<<10 } // one block: none is read ahead
	first := numbered("first", 40000)
	next := numbered("second", 60000)
	var once bool
	r.collector.fail = func(b wire.Batch) error {
		if b.Op == wire.OpData && !once {
			once = true
			r.rewrite("a.log", next)
		}
		return nil
	}
	r.append("a.log", first).run().await(func() bool { return strings.HasSuffix(r.collector.lines(), "second.59999") })
	want := strings.Fields(next)
	got := strings.Fields(r.collector.lines())
	if len(got) < len(want) || !strings.HasPrefix(got[0], "first.") || strings.Join(got[len(got)-len(want):], " ") != strings.Join(want, " ") {
		t.Errorf("%d lines, and the last %d are not the file's", len(got), len(want))
	}
}

// TestPositionIsNotAheadOfTheAck: a saved position that knows of lines before they are kept
// would have them skipped when the collector loses its state.
func TestPositionIsNotAheadOfTheAck(t *testing.T) {
	r := newRig(t).append("a.log", "1\n").run().expect("1")
	tried := make(chan struct{}, 1)
	r.collector.refuse(func(b wire.Batch) error {
		if b.Op != wire.OpData {
			return nil
		}
		if m := r.tailer.positions.get(b.Stream); m.Offset != b.Offset {
			t.Errorf("the mark is at %d while a batch from %d on is being sent", m.Offset, b.Offset)
		}
		select {
		case tried <- struct{}{}:
		default:
		}
		return errors.New("not now")
	})
	r.append("a.log", "2\n")
	<-tried
	<-tried // the first try is over, whatever was noted of it
	r.halt()
	b, err := os.ReadFile(r.tailer.positions.path)
	if err != nil {
		t.Fatal(err)
	}
	list, err := parsePositions(b)
	if err != nil || len(list) != 1 || list[0].Offset != 2 || list[0].Sent != 4 || bytes.Contains(b, []byte(`"live"`)) {
		t.Errorf("%v; the saved positions are %s", err, b)
	}
	r.collector.refuse(nil)
	r.collector.life = wire.Welcome{Log: wire.NewStreamID(), Incarnation: wire.NewStreamID()}
	r.collector.watermarks = make(map[wire.StreamID]*wire.Watermark)
	r.run().expect("1 2")
	if got := fmt.Sprint(r.collector.skips); got != "[0..2]" {
		t.Errorf("skipped %s", got)
	}
}

// TestNewVersionIsNamedToo: the name under which a new version is written matches
// a pattern as well, and it is seen before it takes the old one's place.
func TestNewVersionIsNamedToo(t *testing.T) {
	old := numbered("old", 2000)
	for what, text := range map[string]string{"longer": old + "new\n", "a line taken away": cut(old, 1000) + "new\n"} {
		r := newRig(t).append("a.log", old).run().expectSet(old)
		r.append(".a.log.new", text[:5000])
		r.await(func() bool { return len(r.tailer.Status()) == 2 })
		r.append(".a.log.new", text[5000:])
		r.polled(10)
		r.rename(".a.log.new", "a.log").expectSet(old + "new")
		r.append("a.log", "later\n").expectSet(old + "new later")
		r.await(func() bool { return len(r.tailer.Status()) == 1 })
		if got := r.tailer.Status()[0]; got.Source != "a" || got.Path != r.path("a.log") {
			t.Errorf("%s: %+v", what, got)
		}
	}
}

// TestSameContentAgain: a program that writes the same lines each night, and then
// more, has all of them sent each night, as long as the old file lives on. What an
// editor leaves as its backup does not count.
func TestSameContentAgain(t *testing.T) {
	night := numbered("night", 400)
	for name, c := range map[string]struct {
		rotate func(r *rig)
		again  bool
		online bool // only a process that is there can tell
	}{
		"renamed, and no table names it": {rotate: func(r *rig) { r.rename("a.log", "a.log.1") }, again: true},
		"renamed, and a table names it":  {rotate: func(r *rig) { r.rename("a.log", "a.1.log") }, again: true},
		"renamed to any name":            {rotate: func(r *rig) { r.rename("a.log", "kept") }, again: true},
		"moved": {online: true, again: true, rotate: func(r *rig) {
			if err := os.Rename(r.path("a.log"), filepath.Join(r.TempDir(), "a.log")); err != nil {
				r.Fatal(err)
			}
		}},
		"compressed": {online: true, again: true, rotate: func(r *rig) {
			fi, err := os.Stat(r.path("a.log"))
			if err != nil {
				r.Fatal(err)
			}
			r.rewrite("a.log.1.gz", "packed")
			os.Chtimes(r.path("a.log.1.gz"), fi.ModTime(), fi.ModTime().Truncate(time.Second))
			os.Remove(r.path("a.log"))
		}},
		"a backup": {rotate: func(r *rig) { r.rename("a.log", "a.log~") }},
		"deleted":  {rotate: func(r *rig) { os.Remove(r.path("a.log")) }},
		"deleted, with an older rotated one": {rotate: func(r *rig) {
			r.rewrite("a.log.1.gz", "packed")
			os.Chtimes(r.path("a.log.1.gz"), time.Now(), time.Now().Add(-time.Hour))
			os.Remove(r.path("a.log"))
		}},
	} {
		for _, away := range []bool{false, true} {
			if away && c.online {
				continue
			}
			t.Run(fmt.Sprintf("%s, away %v", name, away), func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				r.change = func(t *Tailer) { t.Tables[0].Paths = []string{r.path("*.log")} }
				r.append("a.log", night).run().expectSet(night)
				if away {
					r.halt()
				}
				c.rotate(r)
				r.rewrite("a.log", night+"more\n")
				if away {
					r.run()
				}
				want := night + "more"
				if c.again {
					want = night + want
				}
				r.expectSet(want)
				r.append("a.log", "last\n").expectSet(want + " last")
				known := strings.Contains(name, "a table names it") && away // as the stream's own file
				if got := r.tailer.Counts()["unsure_files"] == 1; got != c.again && !known {
					t.Errorf("counted as unsure: %v", got)
				}
			})
		}
	}
}
