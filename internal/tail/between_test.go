//go:build !windows

package tail

import (
	"os"
	"strings"
	"testing"
	"time"

	"fanin/internal/wire"
)

// What happens to files between two looks, or while nothing of them was sent.

// TestStopRemembersWhatWaits: a file that may be a copy of another one, or that is empty, is found by the
// next agent under whatever name.
func TestStopRemembersWhatWaits(t *testing.T) {
	onClock(t, func(r *clocked) { // the first line is that of the other file: is it a copy in the making?
		r.write("a.log", "1\n2\n").look().look()
		r.write("b.log", "1\n").write("c.log", "").look().stopped()
		r.write("c.log", "3\n").move("b.log", "b").move("c.log", "c").started().keeps("1 2 1 3")
	})
}

// TestCopyIsRememberedAsOne: what may be a copy when the agent stops may be one for the next agent, too. The
// collector has the lines, and its answer was lost.
func TestCopyIsRememberedAsOne(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.collector.failing = func(b wire.Batch) error {
			if b.Op == wire.OpData {
				return errConnection
			}
			return nil
		}
		r.write("a.log", "1\n2\n").look().away(true)
		r.copy("a.log", "a.log.1").cut("a.log").look().stopped().away(false)
		r.collector.failing = nil
		r.started().keeps("1 2")
	})
}

// TestDeviceChangedBeforeAnyAnswer: a file is known by the numbers that its device has now, though the
// collector has answered nothing since they changed.
func TestDeviceChangedBeforeAnyAnswer(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.away(true).write("a.log", "1\n").look().look().stopped()
		r.changePositions(func(m *savedPosition) { m.device, m.system = m.device+7, 0 })
		r.started().look().stopped().move("a.log", "old").away(false).started().keeps("1")
	})
}

// TestDeviceKnownToTheCollector: the saved positions are older than a change of the device's numbers, of
// which the collector knows.
func TestDeviceKnownToTheCollector(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.write("a.log", "1\n").look().look().stopped()
		known := r.collector.welcome().Streams
		r.changePositions(func(m *savedPosition) { m.device, m.system = m.device+7, 0 })
		for _, s := range known {
			r.collector.ident[s.Stream] = s.Identity
		}
		r.write("a.log", "2\n").copy("a.log", "a.log.1").cut("a.log").write("a.log", "3\n").started().keeps("1 2 3")
	})
}

// TestShortCopyBetweenLooks: of a copy that lacks the end of what was sent, nothing is sent again, though
// the file had new text before a look saw that it was truncated.
func TestShortCopyBetweenLooks(t *testing.T) {
	onClock(t, func(r *clocked) {
		old := numbered("old", 200)
		r.write("a.log", old).look().look()
		r.copy("a.log", "a.log.1").write("a.log", "more\n").look().look()
		r.collector.refuseData()
		r.cut("a.log").write("a.log", "new\n").follower("a.log").notify() // it sees the truncation before the look
		r.look().look().away(false).keeps(old + "more new")
	})
}

// TestShortCopyOfAMiddleName: the same, and the copy is named after neither the first name of the file nor the last.
func TestShortCopyOfAMiddleName(t *testing.T) {
	onClock(t, func(r *clocked) {
		release := r.gated("more\n")
		r.write("a.log", "1\n2\n").look().look().move("a.log", "b.log").look()
		r.copy("b.log", "b-1.log").write("b.log", "more\n").look()
		r.cut("b.log").write("b.log", "3\n").move("b.log", "c.log").look()
		release()
		r.keeps("1 2 more 3")
	})
}

// TestShortCopyOfAnEarlierText: a copy lacks more of the end than is remembered, and its file loses another text before
// the copy is sent. It may be known, and is counted.
func TestShortCopyOfAnEarlierText(t *testing.T) {
	onClock(t, func(r *clocked) {
		old := numbered("old", 1000)
		r.write("a.log", "1\n").copy("a.log", "a-1.log").write("a.log", old).look().look()
		r.pass(4 * machinePoll / 5).follower("a-1.log").notify() // it looks around between the looks
		r.cut("a.log").write("a.log", "2\n").pass(machinePoll/5).cut("a.log").write("a.log", "3\n")
		r.keeps(old+"1 1 2 3").counts("unsure_files", 1)
	})
}

// TestShortCopyIsNotBegunBeforeAKill: the same, and between the two losses the table is removed, and the agent killed. The
// next one, which finds the second loss only, counts the copy.
func TestShortCopyIsNotBegunBeforeAKill(t *testing.T) {
	onClock(t, func(r *clocked) {
		old := numbered("old", 1000)
		r.write("a.log", "1\n").copy("a.log", "a-1.log").write("a.log", old).look().look()
		r.pass(4 * machinePoll / 5).follower("a-1.log").notify()
		r.cut("a.log").write("a.log", "2\n").pass(machinePoll / 5).tailer.Reload(nil)
		r.look().pass(machineGrace)
		counted := r.tailer.Counts()["unsure_files"] // it may begin the copy just before the table goes
		r.killed().cut("a.log").write("a.log", "3\n").away(false).started()
		r.keeps(old+"1 1 2 3").counts("unsure_files", 1-counted)
	})
}

// TestRewrittenBeforeItsStart: before its stream is opened, a file is copied and truncated, and at the next look
// it is not shorter, and perhaps has another name.
func TestRewrittenBeforeItsStart(t *testing.T) {
	for _, renamed := range []bool{false, true} {
		onClock(t, func(r *clocked) {
			r.away(true).write("a.log", "0\n").look().move("a.log", "old").write("a.log", "1\n2\n").look()
			r.copy("a.log", "a.log.1").cut("a.log").write("a.log", "3\n4\n")
			if renamed {
				r.move("a.log", "b.log")
			}
			r.look().away(false).keeps("0 1 2 3 4")
		})
	}
}

// TestRewrittenWhileItWaits: the same, and a look saw its text for the first time after it was found.
func TestRewrittenWhileItWaits(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.away(true).write("a.log", "0\n").look().move("a.log", "old").write("a.log", "").look()
		r.write("a.log", "1\n").look().copy("a.log", "a.log.1").cut("a.log").write("a.log", "2\n3\n").look()
		r.away(false).keeps("0 1 2 3")
	})
}

// TestRewrittenWhileItIsOpened: a file is truncated and written again, to the same size, while the collector's
// answer is on its way that says where it goes on.
func TestRewrittenWhileItIsOpened(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.write("a.log", "1\n").look().look().stopped()
		r.collector.refuse(func(b wire.Batch) error {
			if b.Op == wire.OpOpen && b.Offset > 0 {
				return os.WriteFile(r.path("a.log"), []byte("2\n"), 0o640)
			}
			return nil
		})
		r.started().keeps("1 2")
	})
}

// TestTruncatedTwice: the file is copied and truncated while it is not known yet where its stream goes on
// after it was truncated before.
func TestTruncatedTwice(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.write("a.log", "1\n2\n").look().look().away(true)
		r.cut("a.log").write("a.log", "3\n").look().look()
		r.copy("a.log", "a.log.1").cut("a.log").look().look().away(false).keeps("1 2 3")
	})
}

// TestCopyOfASecondStream: the agent lost its state while the stream of a truncated file had just gone on in a
// copy. What was sent of the file since, and not, is in another copy.
func TestCopyOfASecondStream(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.write("a.log", numbered("old", 300)).look().look()
		first := r.collector.welcome().Streams[0]
		r.copy("a.log", "a.log.1").cut("a.log").write("a.log", "1\n").look().look().stopped()
		r.collector.ident[first.Stream] = first.Identity // what it was told of the copy is lost, too
		r.state = t.TempDir()
		os.Remove(r.path("a.log.1"))
		r.write("a.log", "2\n").copy("a.log", "a.log.2").cut("a.log").started().keeps(numbered("old", 300) + "1 2")
	})
}

// TestTwoStreamsOfOneFile: the same, and the file that was truncated was renamed while no agent ran. Its next stream
// is the one that goes on in it.
func TestTwoStreamsOfOneFile(t *testing.T) {
	onClock(t, func(r *clocked) {
		text := numbered("old", 300)
		r.write("a.log", text).look().look()
		first := r.collector.welcome().Streams[0]
		r.copy("a.log", "a-1.log").cut("a.log").write("a.log", "1\n").look().look().stopped()
		r.collector.ident[first.Stream] = first.Identity // what it was told of the copy is lost
		r.state = t.TempDir()
		r.move("a.log", "old").started().keeps(text + "1")
	})
}

// TestUndecidedIsAnotherFiles: the saved position of a file says that it may be a copy, and the collector knows that its
// stream went on in another file since. The file waits, and does not wake itself again and again.
func TestUndecidedIsAnotherFiles(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.write("a.log", "1\n2\n").look().look()
		stream := r.collector.welcome().Streams[0].Stream
		r.cut("a.log").write("a.log", "3\n").stopped() // and the other file is gone
		r.changePositions(func(m *savedPosition) { m.Point, m.Sent, m.Copy = wire.Point{}, 0, true })
		id, err := parseIdentity(r.collector.ident[stream])
		if err != nil {
			t.Fatal(err)
		}
		id.inode, id.handle = id.inode+1_000_000, nil
		r.collector.ident[stream] = id.append(nil)
		r.started().keeps("1 2 3")
	})
}

// TestStopAfterTruncation: the agent stops before it can see that a file, of which nothing was sent, was
// copied and truncated.
func TestStopAfterTruncation(t *testing.T) {
	for _, renamed := range []bool{false, true} {
		onClock(t, func(r *clocked) {
			r.away(true).write("a.log", "1\n2\n").look().look()
			r.copy("a.log", "a.log.1").cut("a.log").write("a.log", "3\n")
			if renamed {
				r.move("a.log", "b.log")
			}
			r.stopped().away(false).started().keeps("1 2 3")
		})
	}
}

// TestStopAfterTwoTruncations: the collector has text of a file that was truncated before its answer came. What
// was written then was copied and truncated just before the agent stopped.
func TestStopAfterTwoTruncations(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.collector.failing = func(b wire.Batch) error {
			if b.Op == wire.OpData {
				return errConnection
			}
			return nil
		}
		r.write("a.log", "1\n2\n").look().away(true).cut("a.log").write("a.log", "3\n").look().look()
		r.copy("a.log", "a.log.1").cut("a.log").stopped()
		r.collector.failing = nil
		r.write("a.log", "4\n").away(false).started().keeps("1 2 3 4")
	})
}

// TestStopAfterASecondText: the text that was sent is lost, and then another one, just before the agent stops.
func TestStopAfterASecondText(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.write("a.log", "10\n20\n").look().look().away(true).cut("a.log").write("a.log", "3\n").look()
		r.copy("a.log", "a.log.1").cut("a.log").stopped().write("a.log", "4\n").away(false).started().keeps("10 20 3 4")
	})
}

// TestLateLineOfARotatedFile: a line was written to a rotated file after the new one was created. It is not
// taken for one that no agent saw, once it was let go.
func TestLateLineOfARotatedFile(t *testing.T) {
	for _, text := range []string{"", "3\n"} {
		onClock(t, func(r *clocked) {
			r.write("a.log", "1\n").look().move("a.log", "a.log.1").write("a.log", "").write("a.log.1", "2\n")
			r.pass(2 * machineLetGo).stopped()
			r.write("a.log", text).move("a.log", "old").started().keeps("1 2 " + text)
		})
	}
	onClock(t, func(r *clocked) { // while the agent runs, and the new file gets its text much later
		r.write("a.log", "1\n").look().move("a.log", "a.log.1").write("a.log", "").look().write("a.log.1", "2\n")
		r.pass(2*machineLetGo).away(true).write("a.log", "3\n").look().copy("a.log", "a.log.2").cut("a.log").look()
		r.away(false).keeps("1 2 3")
	})
	onClock(t, func(r *clocked) { // while the agent runs
		r.write("a.log", "1\n").look().move("a.log", "a.log.1").write("a.log", "").write("a.log.1", "2\n")
		r.pass(2*machineLetGo).move("a.log", "b.log").write("a.log", "3\n").keeps("1 2 3")
	})
}

// TestLongerVersionOfAnUnsentFile: a longer version is written beside a file of which nothing was sent,
// and replaces it; also before that was begun.
func TestLongerVersionOfAnUnsentFile(t *testing.T) {
	onClock(t, func(r *clocked) {
		text := numbered("line", 300)
		r.away(true).write("a.log", text).look().look()
		r.write("new.log", text+"more\n").look().look().away(false).look().move("new.log", "a.log").keeps(text + "more")
	})
	onClock(t, func(r *clocked) {
		text := numbered("line", 300)
		r.away(true).write("a.log", "1\n").look().move("a.log", "a-1.log").write("a.log", text).look()
		r.write("new.log", text).look().away(false).move("new.log", "a.log").keeps("1 " + text)
	})
}

// TestVersionDeletedAtOnce: a longer version replaces a file, and is deleted before it is seen there.
func TestVersionDeletedAtOnce(t *testing.T) {
	onClock(t, func(r *clocked) {
		text := numbered("line", 300)
		r.write("a.log", text).look().look()
		r.write("new.log", text+"more\n").look().move("new.log", "a.log").tick()
		if err := os.Remove(r.path("a.log")); err != nil {
			t.Fatal(err)
		}
		r.keeps(text + "more")
	})
}

// TestReplacedThenRenamed: a longer version replaced a file shortly before the agent was stopped, and was then
// renamed. What was sent of the old one is not sent again when the new one is let go.
func TestReplacedThenRenamed(t *testing.T) {
	onClock(t, func(r *clocked) {
		text := numbered("line", 300)
		r.write("a.log", text).look().look().write("b.log", text+"more\n").look().move("b.log", "a.log").look().look()
		r.stopped().move("a.log", "old").started().keeps(text + "more").keeps(text + "more")
	})
}

// TestLetGoIsNotUnseen: a file that no look saw before it was rotated is sent, and let go. It is not sent again
// when files are searched for at its path that may be as old.
func TestLetGoIsNotUnseen(t *testing.T) {
	onClock(t, func(r *clocked) {
		began := time.Now()
		r.write("a.log", "1\n").look().look().write("a.log.1", "2\n")
		for range 2 {
			r.tailer.reused.note(reused{path: r.path("a.log"), since: began})
			r.pass(2 * machineLetGo)
		}
		r.keeps("1 2")
	})
}

// TestLetGoIsNotLeft: a file was rotated and let go when another one that had its name was there. The agent is killed, and
// the other one is gone: it left no copy, and the first one is not sent again.
func TestLetGoIsNotLeft(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.write("a.log", "1\n").look().look().move("a.log", "a.log.1")
		r.write("a.log", "20\n30\n40\n").write("a.log.1", "5\n")
		r.pass(3 * machineLetGo).killed().remove("a.log").away(false).started()
		r.keeps("1 20 30 40 5").counts("unseen_files", 0)
	})
}

// TestCopyIsLeftByAFileThatGrew: the same, and the other one had more than what was acknowledged of it, and left a copy.
func TestCopyIsLeftByAFileThatGrew(t *testing.T) {
	onClock(t, func(r *clocked) {
		release := r.gated("5\n")
		r.write("a.log", "20\n30\n40\n").look().look().write("a.log", "5\n").look()
		r.copy("a.log", "a.log.1").pass(machineSettle).write("b.log", "6\n").pass(machineSettle)
		r.killed().remove("a.log").away(false)
		release()
		r.started().keeps("20 20 30 30 40 40 5 6").counts("maybe_doubled_bytes", 9)
	})
}

// TestReplacedAndNotYetSent: a longer version replaced a file, and nothing of it was sent when the agent stopped. It is
// found under another name and with another text, also if the collector knows of a stream that no position was saved of.
func TestReplacedAndNotYetSent(t *testing.T) {
	onClock(t, func(r *clocked) {
		text := numbered("line", 300)
		r.write("a.log", text).look().look().away(true)
		r.write("new.log", text).look().move("new.log", "a.log").pass(2 * machineSettle).stopped().away(false)
		r.collector.watermarks[wire.NewStreamID()] = &wire.Watermark{Epoch: 1}
		r.cut("a.log").write("a.log", "1\n").move("a.log", "old").write("a.log", "2\n").started().keeps(text + "1 2")
	})
}

// TestReplacedTwice: a file is replaced by a longer version, and that by another one before a look saw it there.
func TestReplacedTwice(t *testing.T) {
	onClock(t, func(r *clocked) {
		text := numbered("line", 300)
		r.write("a.log", text).look().look().write("new.log", text+"more\n").look()
		r.move("new.log", "a.log").write("new", text+"more\n").move("new", "a.log").keeps(text + "more")
	})
}

// TestReplacedAndEndNotAnswered: the end of a replaced file's stream is not answered. The next version but one goes on
// where the one before it stopped.
func TestReplacedAndEndNotAnswered(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.collector.failing = func(b wire.Batch) error {
			if b.Op == wire.OpEnd {
				return errConnection
			}
			return nil
		}
		text := numbered("line", 300)
		r.write("a.log", text).look().look().write("new", text+"more\n").move("new", "a.log").pass(2 * machineSettle)
		r.write("new", text+"more\nmost\n").move("new", "a.log").keeps(text + "more most")
	})
}

// TestUndecidedVersion: the next version of a file waits for its turn when the agent stops, and then the file
// is gone. Only what is new is sent, whatever the version is called.
func TestUndecidedVersion(t *testing.T) {
	for _, name := range []string{"a.log", "old"} {
		onClock(t, func(r *clocked) {
			text := numbered("line", 300)
			r.write("a.log", text).look().look().write("new.log", text+"more\n").look().stopped()
			r.move("new.log", "a.log")
			if name != "a.log" {
				r.move("a.log", name)
			}
			r.started().keeps(text + "more")
		})
	}
}

// TestUnseenVersionOfLittleText: a longer version of a file with little text, which was sent, is copied and
// truncated before it is begun. All of it is sent, which is counted: little text proves nothing.
func TestUnseenVersionOfLittleText(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.write("a.log", "1\n").look().look().stopped()
		if err := os.Remove(r.path("a.log")); err != nil {
			t.Fatal(err)
		}
		r.write("a.log", "1\n2\n").copy("a.log", "a.log.1").cut("a.log").started().keeps("1 1 2")
		r.counts("unsure_files", 1)
	})
}

// TestUnseenOtherVersion: a version of a file that begins alike and ends otherwise replaces it, and is copied
// and truncated before it is begun.
func TestUnseenOtherVersion(t *testing.T) {
	onClock(t, func(r *clocked) {
		text := numbered("line", 300)
		r.write("a.log", text+numbered("end", 300)).look().look().write("new", text+"other\n").move("new", "a.log").look()
		r.copy("a.log", "a.log.1").cut("a.log").pass(machineForget)
		if got := r.collector.lines(); !strings.Contains(got, "other") {
			t.Errorf("the lines are %.300q", got)
		}
	})
}

// TestUnseenLongerVersion: a file that was created and rotated before it was seen begins with all of another
// one, which is still there.
func TestUnseenLongerVersion(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.write("link.log", "1\n2\n").look().look().away(true).write("a.log", "1\n2\n3\n").look()
		r.copy("a.log", "a.log.1").cut("a.log").look().look().away(false).keeps("1 2 1 2 3")
	})
}

// TestTruncatedBeforeItsStart: a file that is followed from its end is truncated before the collector
// answers.
func TestTruncatedBeforeItsStart(t *testing.T) {
	onClock(t, func(r *clocked) {
		r.stopped().state = t.TempDir()
		follow := r.change
		r.change = func(t *Tailer) {
			follow(t)
			t.Tables[0].FromEnd = true
		}
		r.write("a.log", "1\n2\n").away(true).started().look().cut("a.log").write("a.log", "3\n").look()
		r.away(false).keeps("3")
	})
}

// TestSentAgainIsReported: what may be a copy, and is sent all the same, is counted.
func TestSentAgainIsReported(t *testing.T) {
	text := numbered("line", 300)
	size := uint64(len(text))
	onClock(t, func(r *clocked) { // another file with the same text
		r.write("a.log", text).look().look().copy("a.log", "b.log").keeps(text + text)
		r.counts("unsure_files", 1).counts("maybe_doubled_bytes", size)
	})
	onClock(t, func(r *clocked) { // the file was little when it was last compared
		r.write("a.log", "1\n").look().look().away(true).write("a.log", text).copy("a.log", "b.log").write("b.log", "2\n")
		r.look().away(false).keeps("1 1 2 " + text + text)
		r.counts("unsure_files", 1).counts("maybe_doubled_bytes", size+2)
	})
	onClock(t, func(r *clocked) { // the copy lacks more of the end than is remembered
		more := numbered("more", 1000)
		r.write("a.log", text+more).look().look().stopped()
		r.cut("a.log").write("a.log", "new\n")
		r.write("a-1.log", text)
		os.Chtimes(r.path("a-1.log"), time.Now().Add(-time.Second), time.Now().Add(-time.Second))
		r.started().keeps(text + more + "new " + text)
		r.counts("unsure_files", 1).counts("maybe_doubled_bytes", size)
	})
	onClock(t, func(r *clocked) { // the same, and the file was renamed
		more := numbered("more", 1000)
		r.write("a.log", text+more).look().look().stopped()
		r.write("a-1.log", text).cut("a.log").write("a.log", "new\n").move("a.log", "a-2.log")
		r.started().keeps(text + more + "new " + text)
		r.counts("unsure_files", 1).counts("maybe_doubled_bytes", size)
	})
}
