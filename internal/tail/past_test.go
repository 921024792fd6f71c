package tail

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"fanin/internal/wire"
)

// TestCopyEndsBeforeWhatWasSent: a line is written and sent between the copy and the
// truncation. The copy is not sent again, however much it holds.
func TestCopyEndsBeforeWhatWasSent(t *testing.T) {
	for name, n := range map[string]int{"little": 3, "more than is remembered of it": 2000} {
		for _, copyName := range []string{"a.log.1", "copy.log"} {
			if n == 3 && copyName == "copy.log" {
				continue // little in a file whose name shows nothing is no proof
			}
			t.Run(name+", "+copyName, func(t *testing.T) {
				r := newRig(t)
				r.change = func(t *Tailer) { t.Settle = time.Minute }
				text := numbered("old", n)
				r.append("a.log", text).run().expectSet(text).append(copyName, text)
				r.await(func() bool { return len(r.tailer.Status()) == 2 })
				r.append("a.log", "between\n").expectSet(text + "between")
				os.Truncate(r.path("a.log"), 0)
				r.append("a.log", "new\n").expectSet(text + "between new").drained(2).quiet(text + "between new")
				if n := r.tailer.Counts()["maybe_doubled_bytes"]; n != 0 {
					t.Errorf("%d bytes count as doubled, perhaps", n)
				}
			})
		}
	}
}

// TestCopyOfAnUnsentFile: a file is copied and truncated before the collector accepted anything
// of it. No table names the copy.
func TestCopyOfAnUnsentFile(t *testing.T) {
	r := newRig(t).append("a.log", "one\ntwo\n")
	r.change = func(t *Tailer) { t.Tables[0].Paths = []string{r.path("a.log")} }
	tried := make(chan struct{}, 1)
	r.collector.refuse(func(wire.Batch) error {
		select {
		case tried <- struct{}{}:
		default:
		}
		return errors.New("away")
	})
	r.run()
	<-tried
	r.polled(3).copyTruncate("a.log", "a.log.1").append("a.log", "3\n").polled(3)
	r.collector.refuse(nil)
	r.expectSet("one two 3")
}

// TestCopyIsCompressedAtOnce: the copy has no name any more when its original's follower, which
// waits for an answer, sees the truncation.
func TestCopyIsCompressedAtOnce(t *testing.T) {
	r := newRig(t).append("a.log", "1\n")
	gate := newGate(r.collector, "2\n")
	r.change = func(t *Tailer) { t.Out, t.Settle = gate, time.Minute }
	r.run().expect("1").append("a.log", "2\n")
	<-gate.held
	r.append("a.log", "3\n").copyTruncate("a.log", "a.log.1")
	r.await(func() bool { return len(r.tailer.Status()) == 2 })
	os.Remove(r.path("a.log.1"))
	close(gate.released)
	r.expectSet("1 2 3").append("a.log", "4\n").expectSet("1 2 3 4").quiet("1 2 3 4")
}

// TestUnsentFileIsRenamedWhileAway: nothing of a file was accepted when the agent stopped, and
// its new name shows nothing.
func TestUnsentFileIsRenamedWhileAway(t *testing.T) {
	r := newRig(t).append("a.log", "1\n")
	r.collector.refuse(func(wire.Batch) error { return errors.New("away") })
	r.run().await(func() bool { list := r.tailer.Status(); return len(list) == 1 && list[0].Trouble != "" }).halt()
	r.collector.refuse(nil)
	r.rename("a.log", "kept").append("a.log", "2\n").run().expectSet("1 2")
}

// TestFoundBehindALinkTwice: the file that a link led to is found by each later start, not by
// the first one alone.
func TestFoundBehindALinkTwice(t *testing.T) {
	r := newRig(t)
	if err := os.Mkdir(r.path("data"), 0o750); err != nil {
		t.Fatal(err)
	}
	link := func(to string) {
		os.Remove(r.path("a.log"))
		if err := os.Symlink(r.path(to), r.path("a.log")); err != nil {
			t.Fatal(err)
		}
	}
	r.append("data/1", "one\n").append("data/2", "two\n")
	link("data/1")
	r.run().expect("one").halt()
	link("data/2")
	for i, text := range []string{"x\n", "y\n", "z\n"} {
		r.append("data/1", text).run().expectSet("one two " + strings.Join([]string{"x", "y", "z"}[:i+1], " ")).halt()
	}
}

// TestRewrittenBeforeItsFirstLine: a file is truncated and written anew between the opening of
// its stream and its first batch. The collector then knows how it begins: an agent that lost
// its state, on another device, finds it under another name.
func TestRewrittenBeforeItsFirstLine(t *testing.T) {
	r := newRig(t).append("a.log", "first\n")
	r.collector.failing = func(b wire.Batch) error {
		if b.Op == wire.OpOpen && b.Epoch == 1 && len(r.collector.order) == 0 {
			os.WriteFile(r.path("a.log"), []byte("other\n"), 0o640)
		}
		return nil
	}
	r.run().expect("other").halt()
	r.collector.failing = nil
	r.changePositions(func(m *savedPosition) { m.device += 7; m.system = 0 }).state = t.TempDir()
	r.rename("a.log", "a.log.1").append("a.log", "new\n").run().expectSet("other new").quiet("other new")
}

// TestCopyThatStays: logrotate's "copy" leaves a copy beside the file, and "renamecopy" one beside
// nothing. Neither is sent again, though both are there for longer than a copy in the making.
func TestCopyThatStays(t *testing.T) {
	text := numbered("old", 300)
	for _, mode := range []string{"copy", "renamecopy"} {
		t.Run(mode, func(t *testing.T) {
			r := newRig(t)
			r.change = func(t *Tailer) { t.Settle = 50 * time.Millisecond }
			r.append("a.log", text).run().expectSet(text).drained(1)
			want := text
			if mode == "renamecopy" {
				r.rename("a.log", "a.log.tmp").append("a.log", "new\n").append("a.log.1", text)
				os.Remove(r.path("a.log.tmp"))
				want += "new "
			} else {
				r.append("a.log.1", text)
			}
			r.await(func() bool { f := r.follower("a.log.1"); return f != nil && f.status().Agreed })
			r.append("a.log", "more\n").expectSet(want+"more").append("a.log.1", "last\n").expectSet(want + "more last")
		})
	}
}
