//go:build !windows

package tail

import (
	"strings"
	"testing"
	"time"
)

// TestRotatedWithoutTable: a file whose table was removed is rotated, and the agent starts without the table. The
// file is not one that was rotated before it was seen: its rest is sent when the table is back.
func TestRotatedWithoutTable(t *testing.T) {
	onClock(t, func(r *clocked) {
		both := r.tables("b.log*", "a.log*")
		r.tailer.Reload(both)
		r.look().write("a.log", "1\n").look()
		r.tailer.Reload(both[:1])
		r.look().write("a.log", "2\n").move("a.log", "a.log.1")
		follow := r.change
		r.change = func(t *Tailer) {
			follow(t)
			t.Tables = both[:1]
		}
		r.stopped().started().keeps("1")
		r.tailer.Reload(both)
		r.keeps("1 2")
	})
}

// TestRenamedWithoutTable: a file whose table was removed gets a name that no table names, and another one gets its
// name. When the table is back, the rest of the file is sent before the other one.
func TestRenamedWithoutTable(t *testing.T) {
	for _, next := range []string{"", "3"} {
		onClock(t, func(r *clocked) {
			r.write("a.log", "1\n").look()
			r.tailer.Reload(nil)
			r.look().write("a.log", "2\n").move("a.log", "old")
			if next != "" {
				r.write("a.log", next+"\n")
			}
			r.look().tailer.Reload(r.tables("*.log"))
			r.keeps("1 2 " + next).expect(strings.TrimSpace("1 2 " + next))
		})
	}
}

// TestSearchIsDueWithoutTable: a text is lost when no table names its file any more. Its copy is searched for when the
// table is back, also by another agent.
func TestSearchIsDueWithoutTable(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		onClock(t, func(r *clocked) {
			all := r.tables("*.log")
			r.away(true).write("a.log", "1\n").look().look().copy("a.log", "a.log.1").cut("a.log").write("a.log", "2\n")
			r.tailer.Reload(nil)
			r.look().look()
			if restarted {
				follow := r.change
				r.change = func(t *Tailer) {
					follow(t)
					t.Tables = nil
				}
				r.stopped().started().look()
			}
			r.tailer.Reload(all)
			r.away(false).keeps("1 2")
		})
	}
}

// TestLittleTextAgainWithTable: a file whose table was removed is copied and truncated. The table is back, and the file
// is gone before the next look: its copy has too little text to prove anything. It is sent again, which is counted.
func TestLittleTextAgainWithTable(t *testing.T) {
	onClock(t, func(r *clocked) {
		all := r.tables("*.log")
		r.write("a.log", "1\n2\n").look().look().tailer.Reload(nil)
		r.look().look().copy("a.log", "a-1.log").cut("a.log").tailer.Reload(all)
		r.remove("a.log").keeps("1 1 2 2").counts("unsure_files", 1).counts("maybe_doubled_bytes", 4)
	})
}

// TestLittleTextOutlivesItsTable: a file is copied and deleted when no table names it, and no table does for longer than
// a stream of a missing file is kept. The copy, of which little was sent, is sent again when the table is back. It is
// still known how much of it that was.
func TestLittleTextOutlivesItsTable(t *testing.T) {
	for _, text := range []string{"1\n2\n", "1\n"} {
		onClock(t, func(r *clocked) {
			all, follow := r.tables("*.log"), r.change
			r.write("a.log", text).look().look().tailer.Reload(nil)
			r.look().look().copy("a.log", "a-1.log").cut("a.log").remove("a.log")
			r.change = func(t *Tailer) {
				follow(t)
				t.Tables = nil
			}
			r.stopped().started().pass(2 * machineForget).tailer.Reload(all)
			r.keeps(text+text).counts("unsure_files", 1).counts("maybe_doubled_bytes", uint64(len(text)))
		})
	}
}

// TestSentWithoutTable: a text is lost when no table names its file any more, and the next one is sent all the same. Then
// the file is renamed. When the table is back, it is known, and not one that was rotated before it was seen.
func TestSentWithoutTable(t *testing.T) {
	for _, next := range []string{"", "3"} {
		onClock(t, func(r *clocked) {
			all := r.tables("*.log")
			r.away(true).write("a.log", "1\n").look().look().tailer.Reload(nil)
			r.look().cut("a.log").write("a.log", "2\n").look().look().move("a.log", "a.log.1").look().away(false)
			if r.pass(machineSettle); next != "" {
				r.write("a.log", next+"\n")
			}
			r.tailer.Reload(all)
			r.keeps("2 "+next).counts("unseen_files", 0)
		})
	}
}

// TestTruncatedWhenItsTableGoes: the table of a file is removed when the file was copied and truncated, which its
// follower does not know, since it waits for an answer. The copy, which is deleted, is known before the file is let go.
func TestTruncatedWhenItsTableGoes(t *testing.T) {
	onClock(t, func(r *clocked) {
		text := numbered("line", 300)
		release := r.gated("2\n")
		r.write("a.log", text).look().look().write("a.log", "2\n").copy("a.log", "a-1.log").look()
		r.cut("a.log").write("a.log", "3\n").tailer.Reload(nil)
		r.remove("a-1.log").look().look()
		release()
		r.keeps(text + "2 3")
	})
}

// TestRenamedWhenItsTableGoes: a file is renamed just before its table is removed. It is let go where it ends, in the
// middle of a line, as it would be under its old name.
func TestRenamedWhenItsTableGoes(t *testing.T) {
	onClock(t, func(r *clocked) {
		all := r.tables("*.log")
		r.write("a.log", "1\n").look().look().write("a.log", "2").move("a.log", "b.log").tailer.Reload(nil)
		r.pass(2*machineGrace).write("b.log", "3\n").tailer.Reload(all)
		r.keeps("1 23")
	})
}

// TestReplacedWithoutTable: a file is replaced by a longer version of itself when its table is removed. Its stream does not
// end: when the table is back, only what is new is sent.
func TestReplacedWithoutTable(t *testing.T) {
	onClock(t, func(r *clocked) {
		all := r.tables("*.log")
		text := numbered("line", 300)
		r.write("a.log", text).look().look().write("new", text+"more\n").move("new", "a.log").tailer.Reload(nil)
		r.look().pass(20 * time.Second)
		r.tailer.Reload(all)
		r.keeps(text + "more")
	})
}
