//go:build !windows

package tail

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"fanin/internal/wire"
)

// TestAnswerLeavesATrail: an answer is lost, and the collector says that it has what was sent. A copy that was made
// before that is known by the place that was acknowledged until then.
func TestAnswerLeavesATrail(t *testing.T) {
	onClock(t, func(r *clocked) {
		text, more := numbered("line", 300), numbered("more", 900)
		var lose atomic.Bool
		r.collector.failing = func(b wire.Batch) error {
			if b.Op == wire.OpData && lose.Swap(false) {
				return errConnection
			}
			return nil
		}
		r.write("a.log", text).look().look().copy("a.log", "a-1.log")
		lose.Store(true)
		r.write("a.log", more).look().look().look().cut("a.log").write("a.log", "9\n").keeps(text + more + "9")
	})
}

// TestLostTextIsRemembered: a copy lacks the end of what was sent of a file, which is truncated and goes on in a new
// epoch. The agent ends before it sends the copy. The next one does, which is counted: the saved position says what was
// lost, or it is older than the epoch that the collector has.
func TestLostTextIsRemembered(t *testing.T) {
	ends := map[string]func(*clocked) *clocked{
		"stopped":      (*clocked).stopped,
		"killed":       (*clocked).killed,
		"saved before": func(r *clocked) *clocked { r.tailer.positions.write(false); return r.killed() },
		"saved long before": func(r *clocked) *clocked {
			all := slices.Collect(maps.Values(r.tailer.positions.all()))
			for i, m := range all {
				first := *m
				first.Epoch, first.Point, first.Sent, first.Start, first.Former = 1, wire.Point{}, 0, true, savedText{}
				all[i] = &first
			}
			r.killed()
			if err := os.WriteFile(r.tailer.positions.path, formatPositions(all, true), 0o640); err != nil {
				r.Fatal(err)
			}
			return r
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			onClock(t, func(r *clocked) {
				text, more := numbered("line", 300), numbered("more", 900)
				var epoch atomic.Uint32
				r.collector.failing = func(b wire.Batch) error {
					epoch.Store(max(epoch.Load(), b.Epoch))
					return nil
				}
				r.write("a.log", text+more).look().look().look().write("a-1.log", text).look()
				r.cut("a.log").write("a.log", "9\n").follower("a.log").notify() // it sees that before the copy's does
				for epoch.Load() < 2 {
					r.tick()
				}
				end(r).away(false).started().keeps(text + text + more + "9")
				r.counts("unsure_files", 1).counts("maybe_doubled_bytes", uint64(len(text)))
			})
		})
	}
}

// TestAnswerAfterTruncation: the first lines of a text are acknowledged when it was copied and truncated already, and no
// table names its file any more. The copy is known.
func TestAnswerAfterTruncation(t *testing.T) {
	for _, before := range []string{"", "0\n"} {
		onClock(t, func(r *clocked) {
			all, text := r.tables("*.log"), numbered("line", 300)
			release := r.gated(text)
			if before != "" {
				r.write("a.log", before).look().look().cut("a.log").look().look() // the stream is opened without text
			}
			r.write("a.log", text).look().copy("a.log", "a-1.log").cut("a.log").write("a.log", "9\n").tailer.Reload(nil)
			r.look().look()
			release()
			r.look().remove("a.log").tailer.Reload(all)
			r.keeps(before + text + "9")
		})
	}
}

// TestCopyOfTextThatIsGone: a file was copied, and is deleted while no agent runs. Nothing was sent of it, or too little
// to know its copy by, under a name that no table names. The copy is sent, once.
func TestCopyOfTextThatIsGone(t *testing.T) {
	for _, sent := range []string{"", "1\n"} {
		onClock(t, func(r *clocked) {
			r.write("a.log", sent).look().look().away(true).write("a.log", "2\n3\n").look().copy("a.log", "a.log.1")
			r.pass(4 * machinePoll).stopped().remove("a.log").away(false).started().pass(machineLetGo + machineGrace)
			r.counts("maybe_doubled_bytes", uint64(len(sent)))
			r.stopped().started().keeps(sent + sent + "2 3")
		})
	}
}

// TestCopyByTheLastName: a file is renamed before anything of it is sent, and copied and truncated while no agent runs.
// The copy is named after the name that the file had last.
func TestCopyByTheLastName(t *testing.T) {
	for _, end := range []func(*clocked) *clocked{(*clocked).stopped, (*clocked).killed} {
		onClock(t, func(r *clocked) {
			r.away(true).write("x.log", "1\n").look().look().move("x.log", "a.log").pass(4 * machinePoll)
			end(r).copy("a.log", "a.log.1").cut("a.log").write("a.log", "2\n").away(false).started().keeps("1 2")
		})
	}
}

// TestCopyOfARenamedFile: a copy of text that was sent has a rotated name of another one than its file was first known
// by. It is too short to be known, and so sent again, which is counted.
func TestCopyOfARenamedFile(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.write("a.log", "0\n").look().look().move("a.log", "b.log").write("x.log", "1\n").look().look()
		r.move("x.log", "a.log").look().look().stopped().copy("a.log", "a.log.1").remove("a.log").started()
		r.keeps("0 1 1").counts("unsure_files", 1).counts("maybe_doubled_bytes", 2)
	})
}

// TestDirectoryAway: a directory with an open file is moved away for longer than files are watched that no table names.
// When it is back, the file's stream goes on.
func TestDirectoryAway(t *testing.T) {
	onClock(t, func(r *clocked) {
		follow := r.change
		r.change = func(t *Tailer) {
			follow(t)
			t.Tables = r.tables("*/*.log")
		}
		dir, away := r.path("dir"), filepath.Join(r.TempDir(), "dir")
		if err := os.Mkdir(dir, 0o750); err != nil {
			t.Fatal(err)
		}
		r.stopped().started().write("dir/a.log", "1\n").look().look()
		if err := os.Rename(dir, away); err != nil {
			t.Fatal(err)
		}
		r.pass(2*machineLetGo).counts("vanished_files", 1).counts("missing_files", 1)
		if err := os.Rename(away, dir); err != nil {
			t.Fatal(err)
		}
		r.write("dir/a.log", "2\n").keeps("1 2").counts("missing_files", 0)
	})
}

// TestNamedAgain: a file is let go under a name that no table names, and gets one that a table names. It goes on where it
// was, also in the next agent.
func TestNamedAgain(t *testing.T) {
	onClock(t, func(r *clocked) {
		f, err := openFile(r.write("0.log", "").path("0.log"))
		if err != nil {
			t.Fatal(err)
		}
		if f.close(); len(f.handle) == 0 {
			t.Skip("files have no handles here")
		}
		r.write("a.log", "1\n").look().look().move("a.log", "a").pass(2*machineLetGo).write("a", "2\n").move("a", "b.log")
		r.look().look().stopped().move("b.log", "c.log").write("c.log", "3\n").started().keeps("1 2 3")
	})
}

// TestTruncatedWhileAnotherIsSought: a file is copied and truncated while the first look still searches for another one,
// and has read how it begins. Its copy, which is sent and let go, is not of the text that is in the file then.
func TestTruncatedWhileAnotherIsSought(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.write("b.log", "0\n").write("a.log", "").look().look().stopped().remove("b.log").write("a.log", "1\n").started()
		r.copy("a.log", "a.log.1").cut("a.log").write("a.log", "2").pass(2 * machineLetGo).stopped()
		r.write("a.log", "\n").copy("a.log", "a.log.2").cut("a.log").write("a.log", "3\n").started().keeps("0 1 2 3")
	})
}

// TestUndecidedAndHandedOver: a saved position says that a file may be a copy, and another one that a stream goes on in
// it. That is the file's, whatever name it has.
func TestUndecidedAndHandedOver(t *testing.T) {
	for range 10 { // in any order
		onClock(t, func(r *clocked) {
			r.write("a.log", "1\n").look().look().stopped()
			all := slices.Collect(maps.Values(r.tailer.positions.all()))
			first := *all[0]
			first.Stream, first.Point, first.Sent, first.Copy = wire.NewStreamID(), wire.Point{}, 0, true
			if err := os.WriteFile(r.tailer.positions.path, formatPositions(append(all, &first), false), 0o640); err != nil {
				r.Fatal(err)
			}
			r.move("a.log", "a.log.1").started().keeps("1")
		})
	}
}
