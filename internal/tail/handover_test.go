//go:build !windows

package tail

import (
	"os"
	"strings"
	"testing"
	"time"
)

// TestStreamGoesToTheLongerVersion: a longer version takes the stream of the file that it replaced, so that no version
// after it goes on where that one stopped: also if the agent stops before the old file is let go.
func TestStreamGoesToTheLongerVersion(t *testing.T) {
	onClock(t, func(r *clocked) {
		text := numbered("line", 300)
		r.write("a.log", text).look().look().write("new", text+"more\n").move("new", "a.log").look().look()
		if n := len(r.collector.welcome().Streams); n != 1 {
			t.Errorf("%d streams have the text", n)
		}
		r.stopped().started().write("new.log", text+"more\n").look().move("new.log", "a.log").keeps(text + "more")
	})
}

// TestReplacedFileGrows: a program writes to a file that a longer version replaced. That has its stream, and what is
// written is sent in a new one.
func TestReplacedFileGrows(t *testing.T) {
	onClock(t, func(r *clocked) {
		text := numbered("line", 300)
		old, err := os.OpenFile(r.write("a.log", text).path("a.log"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer old.Close()
		r.look().look().write("new", text+"more\n").move("new", "a.log").look().look().tick()
		if _, err := old.WriteString("late\n"); err != nil {
			t.Fatal(err)
		}
		r.keeps(text + "more late")
	})
}

// TestLongerVersionUnderAnotherName: a file with little text is replaced by a longer version that was sent as a new
// file, and that by a longer one still before a look saw it there.
func TestLongerVersionUnderAnotherName(t *testing.T) {
	onClock(t, func(r *clocked) {
		text := "1\n" + numbered("line", 300)
		r.write("a.log", "1\n").look().look().write("new.log", text).pass(2 * machineSettle).look()
		r.move("new.log", "a.log").write("new", text+"more\n").move("new", "a.log").keeps("1 " + text + "more")
	})
}

// TestVersionReplacesASendingOne: a line of a file is on its way, which had another name before, when a longer version
// replaces it.
func TestVersionReplacesASendingOne(t *testing.T) {
	onClock(t, func(r *clocked) {
		text := numbered("line", 300)
		release := r.gated("more\n")
		r.write("new.log", text).look().look().move("new.log", "a.log").look().look().write("a.log", "more\n").look()
		r.write("new", text+"more\nmost\n").move("new", "a.log").look().look()
		release()
		r.keeps(text + "more most")
	})
}

// TestVersionBesideACopy: a longer version replaces a file, and is deleted before it is seen there. A copy
// of an earlier text of the file is of the same second.
func TestVersionBesideACopy(t *testing.T) {
	onClock(t, func(r *clocked) {
		text := numbered("line", 300)
		r.pass(time.Until(time.Now().Truncate(time.Second).Add(time.Second)))
		r.write("a.log", "1\n").write("a.log.1", "1\n").cut("a.log").write("a.log", text).look().look()
		r.write("new.log", text+"more\n").look().move("new.log", "a.log").tick()
		if err := os.Remove(r.path("a.log")); err != nil {
			t.Fatal(err)
		}
		r.pass(machineForget)
		if got := r.collector.lines(); strings.Count(got, "line.7 ") != 1 || !strings.HasSuffix(got, "more") {
			t.Errorf("%.300q is kept", got)
		}
	})
}

// TestRenameOutOfSight: a file was renamed so that no table names it, and its last line has no end. The file that
// has its name now waits for that line, but not for as long as the grace.
func TestRenameOutOfSight(t *testing.T) {
	onClock(t, func(r *clocked) {
		follow := r.change
		r.change = func(t *Tailer) {
			follow(t)
			t.Grace = 3 * t.holeAge() // the file waits twice for holeAge: to be begun, and to be sent
		}
		r.stopped().started()
		r.write("a.log", "1\n").look().look().expect("1")
		r.write("a.log", "2\n3").move("a.log", "old").write("a.log", "4\n")
		r.expect("1 2 4 3") // the unfinished line gets its end after the grace
		r.await(func() bool { return r.ended() == 1 })
	})
}

// TestLongerVersionBesideARotatedFile: a file is gone while a longer version of it waits under another name. Since there
// is a rotated file that is as new, it may be another one: all of it is sent, and counted, though that is much later.
func TestLongerVersionBesideARotatedFile(t *testing.T) {
	onClock(t, func(r *clocked) {
		text := numbered("line", 300)
		r.write("a.log", text).look().look().write("new.log", text+"more\n").look()
		r.write("a.log.1", "").remove("a.log").keeps(text+text+"more").counts("unsure_files", 1)
	})
}
