//go:build !windows

package tail

import (
	"os"
	"sync/atomic"
	"testing"

	"fanin/internal/wire"
)

// What becomes of texts that are lost before anything of them is acknowledged: only a look shows them.

// gated starts an agent whose first batch with a text is held, until the function that is returned is called.
func (r *clocked) gated(text string) (release func()) {
	gate := newGate(r.collector, text)
	follow := r.change
	r.change = func(t *Tailer) {
		follow(t)
		t.Out = gate
	}
	r.stopped().started()
	return func() {
		close(gate.released)
		r.tick()
	}
}

// TestTruncatedAndRenamed: a file of which nothing was sent is copied, truncated and renamed between two looks, so
// that no table names it at the next one.
func TestTruncatedAndRenamed(t *testing.T) {
	onClock(t, func(r *clocked) {
		release := r.gated("0\n")
		r.write("a.log", "0\n").look().move("a.log", "old").write("a.log", "").look().write("a.log", "1\n2\n").look()
		r.copy("a.log", "a.log.1").cut("a.log").write("a.log", "3\n").move("a.log", "b").look()
		release()
		r.keeps("0 1 2 3")
	})
}

// TestVersionsOfTextsThatNoLookSaw: nothing of some files was sent. They are truncated and written anew, and the next
// versions of them are made, all between two looks: of no version that the next look finds is anything sent before that
// look has seen which texts the files have.
func TestVersionsOfTextsThatNoLookSaw(t *testing.T) {
	onClock(t, func(r *clocked) {
		names, want := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"}, ""
		r.away(true)
		for _, name := range names {
			r.write(name+".log", "old "+name+"\n")
		}
		r.look().look()
		for _, name := range names {
			text := numbered(name, 300)
			r.cut(name+".log").write(name+".log", text).copy(name+".log", name+".new.log").write(name+".new.log", "last."+name+"\n")
			want += text + "last." + name + "\n"
		}
		r.look()
		for _, name := range names {
			r.move(name+".new.log", name+".log")
		}
		r.look().look().away(false).keeps(want)
	})
}

// TestSecondTextIsLost: the text that was sent is lost, and then another one, which no look saw shrink.
func TestSecondTextIsLost(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.write("a.log", "10\n20\n").look().look().away(true)
		r.cut("a.log").write("a.log", "3\n").look()
		r.copy("a.log", "a.log.1").cut("a.log").write("a.log", "4\n5\n").look().away(false).keeps("10 20 3 4 5")
	})
}

// TestTextIsLostBeforeTheOpen: the text changes between the last look and the open of the stream.
func TestTextIsLostBeforeTheOpen(t *testing.T) {
	onClock(t, func(r *clocked) {
		release := r.gated("0\n")
		r.write("a.log", "0\n").look().move("a.log", "old").write("a.log", "").look().write("a.log", "1\n2\n").look()
		r.copy("a.log", "a.log.1").cut("a.log").write("a.log", "3\n4\n5\n")
		release()
		r.look().keeps("0 1 2 3 4 5")
	})
}

// TestCopyIsNotFoundAgain: a copy, which was let go, is not sent again when the file gets its next text.
func TestCopyIsNotFoundAgain(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.away(true).write("a.log", "1\n").look().away(false).pass(machineGrace).keeps("1")
		r.copy("a.log", "a.log.1").cut("a.log").follower("a.log").notify() // it sees the truncation before the look
		r.pass(2*machineLetGo).write("a.log", "2\n").keeps("1 2")
	})
}

// TestUnsentTextIsRemembered: the saved position of a file of which nothing was sent says which text it has now,
// so that the next agent does not search for a copy that was sent and let go.
func TestUnsentTextIsRemembered(t *testing.T) {
	onClock(t, func(r *clocked) {
		release := r.gated("0\n")
		r.write("a.log", "0\n").look().move("a.log", "old").write("a.log", "1\n").look()
		r.copy("a.log", "a.log.1").cut("a.log").look()
		release()
		r.pass(2 * machineLetGo).keeps("0 1").stopped()
		r.write("a.log", "2\n").started().keeps("0 1 2")
	})
}

// TestHandoverIsDurable: when a stream goes on in a copy, the saved positions on the disk say that, and know the
// stream of the file that was copied: it may be renamed while no process runs.
func TestHandoverIsDurable(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.write("a.log", "1\n").look().look().stopped()
		r.copy("a.log", "a.log.1").cut("a.log").write("a.log", "2\n")
		opened := false
		r.collector.refuse(func(b wire.Batch) error {
			if opened || b.Offset == 0 {
				return errConnection // nothing arrives but the open of the stream in the copy
			}
			opened = true
			return nil
		})
		r.state = t.TempDir()
		r.started().killed().move("a.log", "old").away(false).started().keeps("1 2")
	})
}

// TestOlderFileIsNoCopy: a file that was written to last before the text began that was sent is no copy of
// that, though it begins alike.
func TestOlderFileIsNoCopy(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		onClock(t, func(r *clocked) {
			r.write("a.log", "1\n2\n").look().look().link("a.log", "link").write("new", "1\n").move("new", "a.log")
			r.pass(2 * machineLetGo).keeps("1 1 2")
			if restarted {
				r.stopped().started()
			}
			r.look().cut("a.log").write("a.log", "3\n").keeps("1 1 2 3")
		})
	}
}

// TestLittleTextAgainIsReported: a copy of little text, whose original is gone, is sent again by an agent that lost its
// state, which is counted.
func TestLittleTextAgainIsReported(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.write("a.log", "1\n2\n").look().look().away(true)
		r.copy("a.log", "a-1.log").cut("a.log").look().stopped().away(false)
		if err := os.Remove(r.path("a.log")); err != nil {
			t.Fatal(err)
		}
		r.state = t.TempDir()
		r.started().keeps("1 1 2 2").counts("unsure_files", 1).counts("maybe_doubled_bytes", 4)
	})
}

// TestUnansweredTextAgainIsReported: the collector does not answer whether it has the text of a file that was
// truncated. A copy that lacks the end of that is sent, which is counted.
func TestUnansweredTextAgainIsReported(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.collector.failing = func(b wire.Batch) error {
			if b.Op == wire.OpData && b.Offset == 0 && b.End > 4 {
				r.collector.fail = func(wire.Batch) error { return errConnection }
				return errConnection
			}
			return nil
		}
		r.write("a.log", "1\n2\n3\n").look().write("a-1.log", "1\n").cut("a.log").look().pass(2*machineSettle).away(false).keeps("1 1 2 3").counts("unsure_files", 1).counts("maybe_doubled_bytes", 2)
	})
}

// TestUnansweredTextIsInACopy: the collector has text of a file whose answer was lost. The file was copied and
// truncated, and a look saw its next text, before the agent stopped.
func TestUnansweredTextIsInACopy(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.collector.failing = func(b wire.Batch) error {
			if b.Op == wire.OpData {
				return errConnection
			}
			return nil
		}
		r.write("a.log", "1\n2\n").look().away(true).write("a.log", "3\n").copy("a.log", "copy").cut("a.log").write("a.log", "4\n")
		r.look().look().stopped()
		r.collector.failing = nil
		r.away(false).started().keeps("1 2 3 4")
	})
}

// TestPartAgainIsReported: a copy that lacks the end of what was sent is sent again after the file itself was deleted
// while no process ran, which is counted.
func TestPartAgainIsReported(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.write("a.log", "1\n2\n").look().look().stopped().copy("a.log", "a-1.log").started().write("a.log", "3\n")
		r.tick().follower("a.log").notify()
		r.tick().stopped()
		if err := os.Remove(r.path("a.log")); err != nil {
			t.Fatal(err)
		}
		r.started().keeps("1 1 2 2 3").counts("unsure_files", 1).counts("maybe_doubled_bytes", 4)
	})
}

// TestLostBytesAreReported: a copy lacks the end of what was sent, whose answer was lost. What may come twice is
// counted once, also if the open of the copy's stream in a new epoch is not answered at first.
func TestLostBytesAreReported(t *testing.T) {
	onClock(t, func(r *clocked) {
		text := numbered("line", 300)
		var lose atomic.Bool // the next answer that matters
		r.collector.failing = func(b wire.Batch) error {
			matters := b.Op == wire.OpData && b.Epoch == 1 || b.Op == wire.OpOpen && b.Epoch == 2
			if matters && lose.Swap(false) {
				return errConnection
			}
			return nil
		}
		r.write("a.log", text).look().look()
		lose.Store(true)
		r.write("a.log", "1\n2\n").copy("a.log", "a.log.1").write("a.log", "3\n").look().cut("a.log")
		lose.Store(true)
		r.keeps(text+"1 1 2 2 3").counts("maybe_doubled_bytes", 4)
	})
}

// TestLostStateTwice: an agent that lost its state stops before the collector answers where a file goes on that was
// copied and truncated; then the file is gone. The copy goes on where the collector says.
func TestLostStateTwice(t *testing.T) {
	onClock(t, func(r *clocked) {
		text := numbered("line", 300)
		r.write("a.log", text).look().look().stopped().copy("a.log", "a-1.log").cut("a.log").write("a.log", "1\n")
		r.state = t.TempDir()
		gone := func() {
			r.collector.refuse(func(wire.Batch) error { return errConnection })
			r.started()
			r.tailer.positions.remove(r.follower("a-1.log").place.stream)
			r.stopped()
		}
		gone()
		if err := os.Remove(r.path("a.log")); err != nil {
			t.Fatal(err)
		}
		r.away(false).started().keeps(text)
	})
}

// TestHeadOfWhatWasSent: a batch fails after its file was copied and truncated. The saved position keeps how the text
// began that was sent, which shows that the copy holds it.
func TestHeadOfWhatWasSent(t *testing.T) {
	onClock(t, func(r *clocked) {
		release := r.gated("3\n")
		r.write("a.log", "1\n2\n").look().look().write("a.log", "3\n").look()
		r.copy("a.log", "a-1.log").cut("a.log").write("a.log", "9\n").away(true)
		release()
		r.stopped()
		if err := os.Remove(r.path("a.log")); err != nil {
			t.Fatal(err)
		}
		r.away(false).started().keeps("1 1 2 2 3").counts("unsure_files", 1).counts("maybe_doubled_bytes", 4)
	})
}

// TestUnseenPartIsReported: the same as TestPartAgainIsReported with a copy that no table names.
func TestUnseenPartIsReported(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.write("a.log", "1\n2\n").look().look().write("a.log", "3\n").tick().follower("a.log").notify()
		r.tick().write("a.log.1", "1\n2\n").stopped()
		if err := os.Remove(r.path("a.log")); err != nil {
			t.Fatal(err)
		}
		r.started().keeps("1 1 2 2 3").counts("unsure_files", 1).counts("maybe_doubled_bytes", 4)
	})
}

// TestShortPartIsReported: the same as TestPartAgainIsReported with a copy that is too short for a comparison with how
// the text began that was sent: its name alone shows that it may be one.
func TestShortPartIsReported(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.write("a.log", "1\n2\n").look().look().copy("a.log", "a-1.log").write("a.log", "3\n4\n").look().look()
		r.cut("a.log").stopped()
		if err := os.Remove(r.path("a.log")); err != nil {
			t.Fatal(err)
		}
		r.started().keeps("1 1 2 2 3 4").counts("unsure_files", 1).counts("maybe_doubled_bytes", 4)
	})
}

// TestCopyOfDeletedText: a file of which nothing was sent is replaced by another version. A copy of that is left to it,
// which has all of the copy; but then the agent stops, and the copy is all that there is of the text.
func TestCopyOfDeletedText(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.away(true).write("a.log", "1\n2\n").look().look()
		r.write("new", "1\n").move("new", "a.log").look().look()
		r.copy("a.log", "a.log.1").cut("a.log").write("a.log", "3\n").look().look().pass(machineSettle)
		r.stopped().away(false).started().keeps("1 3")
	})
}

// TestCopyOfDeletedTextIsSentOnce: the same with copies that were sent, and let go, before the next start, of a file
// that is still missing.
func TestCopyOfDeletedTextIsSentOnce(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.away(true).write("a.log", "1\n2\n").look().look()
		r.write("new", "1\n").move("new", "a.log").look().look()
		r.copy("a.log", "a.log.1").cut("a.log").write("a.log", "3\n").look().look().pass(machineSettle)
		r.stopped().away(false).started().pass(2 * machineLetGo).stopped().started().keeps("1 3")
	})
}

// TestCopyOfRenamedFile: a copy is named after the name that a file got since it was found.
func TestCopyOfRenamedFile(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.write("new.log", "1\n").look().look().move("new.log", "a.log").look()
		r.copy("a.log", "a-1.log").write("a.log", "2\n").look().cut("a.log").write("a.log", "3\n").keeps("1 2 3")
	})
}

// TestResumedOnce: it is decided that the stream of a truncated file goes on there in a new epoch, since its copy lacks
// the end of what the collector has. The answer to the open is lost, and with it what the collector has: the stream does
// not go on in the copy then.
func TestResumedOnce(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.write("a.log", "1\n2\n").look().look()
		var cut, lost bool
		r.collector.fail = func(b wire.Batch) error {
			if b.Op == wire.OpOpen && b.Offset == 4 && !cut { // it is answered with what the collector has
				cut = true
				if err := os.WriteFile(r.path("a.log"), []byte("5\n"), 0o640); err != nil {
					return err
				}
				r.touch("a.log")
			}
			return nil
		}
		r.collector.failing = func(b wire.Batch) error {
			if b.Op == wire.OpData && b.Offset == 4 || b.Op == wire.OpOpen && b.Epoch == 2 && !lost {
				lost = lost || b.Op == wire.OpOpen
				return errConnection
			}
			return nil
		}
		r.write("a.log", "3\n").copy("a.log", "old").write("a.log", "4\n").keeps("1 2 3 4 5")
	})
}

// TestShorterTextOfNewStream: a file is truncated where no copy of it is found. Later its stream goes on in a copy, and
// its new stream, in the same epoch, has less text than was lost then: that goes on in its copy, too.
func TestShorterTextOfNewStream(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.write("a.log", "1\n2\n3\n").look().look().cut("a.log").write("a.log", "4\n5\n").look().look()
		r.copy("a.log", "a.log.1").cut("a.log").write("a.log", "6\n").look().look()
		r.copy("a.log", "a-2.log").cut("a.log").write("a.log", "7\n").keeps("1 2 3 4 5 6 7")
	})
}

// TestOldVersionIsReported: a file has another name, which no table names, when a shorter version replaces it. It is
// let go, and the version is deleted while no process runs. The file holds what was sent of that: its rest is sent
// again, which is counted.
func TestOldVersionIsReported(t *testing.T) {
	onClock(t, func(r *clocked) {
		text := numbered("line", 300)
		r.write("a.log", text+"1\n2\n").look().look().link("a.log", "link").look()
		r.write("new", text).move("new", "a.log").pass(2 * machineLetGo).stopped()
		if err := os.Remove(r.path("a.log")); err != nil {
			t.Fatal(err)
		}
		r.started().keeps(text+text+"1 1 2 2").counts("unsure_files", 1).counts("maybe_doubled_bytes", 4)
	})
}

// TestTextsAreLostWhileItWaits: the text that was sent is lost, and then another one, while the collector does not
// answer where the file goes on. A look sees the second text, which is longer than the first one.
func TestTextsAreLostWhileItWaits(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.write("a.log", "1\n").look().look().stopped()
		gate, follow := newGate(r.collector, ""), r.change // it holds the open of the stream
		r.change = func(t *Tailer) {
			follow(t)
			t.Out = gate
		}
		r.started().cut("a.log").write("a.log", "2\n3\n").look()
		r.copy("a.log", "a.log.1").cut("a.log").write("a.log", "4\n").look()
		close(gate.released)
		r.keeps("1 2 3 4")
	})
}

// TestSearchIsDue: a text is lost, and its follower sees that when the agent is about to end, so that no search finds
// the copy. The next agent does.
func TestSearchIsDue(t *testing.T) {
	for _, how := range []func(*clocked) *clocked{(*clocked).stopped, (*clocked).killed} {
		onClock(t, func(r *clocked) {
			r.write("a.log", "1\n").look().look().away(true).cut("a.log").write("a.log", "2\n3\n").look().look()
			r.copy("a.log", "a.log.1").cut("a.log").write("a.log", "4\n").follower("a.log").seeText("", false)
			r.tailer.positions.write(false)
			how(r).move("a.log", "b.log").away(false).started().keeps("1 2 3 4")
		})
	}
}

// TestSecondLossOfStateIsReported: a copy lacks the end of what was sent of a file. The agent loses its state, finds the
// file truncated and has its stream go on in a new epoch; then it loses its state again. The copy is sent, which is
// counted.
func TestSecondLossOfStateIsReported(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.write("a.log", "1\n2\n3\n").look().look().stopped()
		r.write("a-1.log", "1\n2\n").cut("a.log").write("a.log", "9\n")
		r.collector.refuse(func(b wire.Batch) error {
			if b.Source == "a-1" {
				return errConnection
			}
			return nil
		})
		r.state = t.TempDir()
		r.started().stopped().away(false)
		r.state = t.TempDir()
		r.started().keeps("1 1 2 2 3 9").counts("unsure_files", 1).counts("maybe_doubled_bytes", 4)
	})
}

// TestLossOfStateIsRemembered: the same with a copy that is not sent yet, since it may be one of another file, when the
// agent stops after the second loss. The next one knows what the copy may be of.
func TestLossOfStateIsRemembered(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.write("b.log", "1\n2\n5\n").write("a.log", "1\n2\n3\n").pass(2 * machineSettle).stopped()
		r.write("a-1.log", "1\n2\n").cut("a.log").write("a.log", "9\n")
		for range 2 {
			r.state = t.TempDir()
			r.started().look().stopped()
		}
		r.started().keeps("1 1 1 2 2 2 3 5 9").counts("unsure_files", 1).counts("maybe_doubled_bytes", 4)
	})
}

// TestCopyAheadOfItsOriginal: a file is copied and truncated while no agent runs. By its name the copy was rotated before
// the file, which got its name before that. The two do not wait for each other.
func TestCopyAheadOfItsOriginal(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.write("a.log", "1\n").look().link("a.log", "link").look().write("new.log", "2\n").look().look()
		r.move("new.log", "a.log").look().look().stopped()
		r.copy("a.log", "a-20000101.log").cut("a.log").write("a.log", "3\n").started().keeps("1 2 3")
	})
}

// TestCopyIsFoundLate: the stream of a truncated file goes on there in a new epoch. The answer to the open is lost, and a
// copy that lacks the end of what was sent gets a name that is followed: it is a file of its own, which is counted.
func TestCopyIsFoundLate(t *testing.T) {
	onClock(t, func(r *clocked) {
		lost := 0
		r.collector.failing = func(b wire.Batch) error {
			if b.Op == wire.OpOpen && b.Epoch == 2 && lost < 2 {
				lost++
				return errConnection
			}
			return nil
		}
		r.write("a.log", "1\n2\n").look().look().write("a.log", "3\n").look()
		r.write("a.log.1", "1\n2\n").cut("a.log").write("a.log", "4\n").look().move("a.log.1", "a-1.log")
		r.keeps("1 1 2 2 3 4").counts("unsure_files", 1).counts("maybe_doubled_bytes", 4)
	})
}
