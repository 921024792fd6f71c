package tail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fanin/internal/wire"
)

// copyTruncate does what logrotate's copytruncate does.
func (r *rig) copyTruncate(name, to string) *rig {
	r.Helper()
	b, err := os.ReadFile(r.path(name))
	if err != nil {
		r.Fatal(err)
	}
	if err := os.WriteFile(r.path(to), b, 0o640); err != nil {
		r.Fatal(err)
	}
	if err := os.Truncate(r.path(name), 0); err != nil {
		r.Fatal(err)
	}
	return r
}

// refuse has batches fail before they are kept.
func (k *collector) refuse(fail func(wire.Batch) error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fail = fail
}

// drained waits until all of so many files is kept.
func (r *rig) drained(files int) *rig {
	r.Helper()
	return r.await(func() bool { return r.allSent(files) })
}

// allSent reports whether all of this many files is acknowledged.
func (r *rig) allSent(files int) bool {
	list := r.tailer.Status()
	return len(list) == files && !slices.ContainsFunc(list, func(f FileStatus) bool { return f.Acked != f.Size })
}

// lines is n lines that no other call makes.
func numbered(name string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%s.%d\n", name, i)
	}
	return b.String()
}

// TestCopiesAfterAKill: the process was killed before it wrote any saved position, and the
// files were copied and truncated while no agent ran. The collector remembers
// enough: no copy is sent again, whichever follower begins first.
func TestCopiesAfterAKill(t *testing.T) {
	r := newRig(t)
	var want strings.Builder
	const files = 8
	for i := range files {
		text := numbered(fmt.Sprint("old", i), 200)
		want.WriteString(text)
		r.append(fmt.Sprintf("app%d.log", i), text)
	}
	r.run().expectSet(want.String())
	r.halt()
	r.state = t.TempDir()
	for i := range files {
		name := fmt.Sprintf("app%d.log", i)
		text := numbered(fmt.Sprint("new", i), 5)
		want.WriteString(text)
		r.copyTruncate(name, name+".1").append(name, text)
	}
	r.run().drained(2 * files).expectSet(want.String())
}

// TestOldPosition: a saved position from before the first line was acknowledged, of a stream that went
// to a copy just when the process was killed. The collector knows how far it is.
func TestOldPosition(t *testing.T) {
	r := newRig(t).append("app.log", "")
	r.run().await(func() bool { return len(r.collector.welcome().Streams) == 1 }).halt()
	old := t.TempDir()
	if err := os.CopyFS(old, os.DirFS(r.state)); err != nil {
		t.Fatal(err)
	}
	sent := numbered("old", 50)
	r.append("app.log", sent).run().expectSet(sent)
	r.collector.refuse(func(b wire.Batch) error {
		if bytes.HasSuffix(b.Identity, []byte("app.log.1")) {
			return errors.New("not before the kill")
		}
		return nil
	})
	r.copyTruncate("app.log", "app.log.1").append("app.log", "new\n").expectSet(sent + "new")
	r.halt()
	r.state = old
	r.collector.refuse(nil)
	r.run().drained(2).expectSet(sent + "new")
}

// gate passes on what is sent, but holds batches that have some text in them.
type gate struct {
	wire.Appender
	text     string
	held     chan struct{} // closed when the first one is held
	once     sync.Once
	released chan struct{}
}

func newGate(to wire.Appender, text string) *gate {
	return &gate{Appender: to, text: text, held: make(chan struct{}), released: make(chan struct{})}
}

func (g *gate) Append(ctx context.Context, b wire.Batch) error {
	if string(b.Text) == g.text {
		g.once.Do(func() { close(g.held) })
		select {
		case <-g.released:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return g.Appender.Append(ctx, b)
}

// looks waits until the tailer has found one more file, and so has looked at all
// that were there before it twice.
func (r *rig) looks(name string) *rig {
	r.Helper()
	r.append(name, name+"\n")
	return r.await(func() bool { return strings.Contains(r.collector.lines(), name) })
}

// TestCopyOfAGrowingFile: a file is copied while lines of it are being sent, or
// not read yet. What is known of its beginning is older than the copy then.
func TestCopyOfAGrowingFile(t *testing.T) {
	for name, first := range map[string]string{"a short file": "1\n", "an empty file": ""} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t).append("a.log", first)
			gate := newGate(r.collector, "2\n")
			r.change = func(t *Tailer) { t.Out, t.Settle = gate, time.Minute }
			r.run().await(func() bool { return len(r.tailer.Status()) == 1 && r.tailer.Status()[0].Agreed }).drained(1)
			r.append("a.log", "2\n")
			<-gate.held
			r.append("a.log.1", first+"2\n").await(func() bool { return len(r.tailer.Status()) == 2 }).looks("z.log")
			if err := os.Truncate(r.path("a.log"), 0); err != nil {
				t.Fatal(err)
			}
			r.append("a.log", "3\n")
			close(gate.released)
			r.expectSet(first + "2 3 z.log").drained(3).expectSet(first + "2 3 z.log")
		})
	}
}

// TestCopyWhileAway: the collector does not answer for longer than a file may be a copy
// in the making. The copy waits for the file that it is of all the same.
func TestCopyWhileAway(t *testing.T) {
	r := newRig(t).append("a.log", "1\n")
	gate := newGate(r.collector, "2\n")
	r.change = func(t *Tailer) { t.Out, t.Settle = gate, time.Nanosecond }
	r.run().expect("1").drained(1)
	r.append("a.log", "2\n")
	<-gate.held
	r.copyTruncate("a.log", "a.log.1").append("a.log", "3\n")
	r.await(func() bool { return len(r.tailer.Status()) == 2 }).looks("z1.log").looks("z2.log")
	close(gate.released)
	r.expectSet("1 2 3 z1.log z2.log").drained(4).expectSet("1 2 3 z1.log z2.log")
}

// TestCopyIsCreatedFirst: a copy that no table names is found while it is still
// empty, for the file before was copied a moment ago.
func TestCopyIsCreatedFirst(t *testing.T) {
	r := newRig(t).append("a.log", "1\n")
	r.change = func(t *Tailer) {
		t.Tables[0].Paths, t.Settle, t.LetGo = []string{r.path("a.log"), r.path("z*.log")}, time.Minute, time.Minute
	}
	r.run().expect("1").append("a.log.1", "")
	r.rename("a.log", "a.log.2").append("a.log", "2\n").expect("1 2")
	r.await(func() bool { return r.tailer.Counts()["unseen_files"] == 1 })
	r.append("a.log.1", "2\n").looks("z1.log").looks("z2.log")
	if err := os.Truncate(r.path("a.log"), 0); err != nil {
		t.Fatal(err)
	}
	r.append("a.log", "3\n").expectSet("1 2 3 z1.log z2.log").drained(5).expectSet("1 2 3 z1.log z2.log")
}

// TestUnseenIsNotNamed: a file that a table names is not one that was created and rotated unseen; the
// next look finds it.
func TestUnseenIsNotNamed(t *testing.T) {
	r := newRig(t).append("a.log", "1\n").run().expect("1")
	s := r.tailer.newSearch()
	defer s.close()
	r.append("a.log.1", "")
	r.tailer.unseen(s, []reused{{path: r.path("a.log")}})
	if n := r.tailer.Counts()["unseen_files"]; n != 0 {
		t.Errorf("%d files count as unseen", n)
	}
}

// TestFoundCopyIsNamed: a copy that is found before any look did, and that a table
// names, is not let go as one that no table names, however long the next look takes.
func TestFoundCopyIsNamed(t *testing.T) {
	r := newRig(t).append("a.log", "1\n")
	r.change = func(t *Tailer) { t.Poll = time.Hour } // the first look is the only one
	r.run().expect("1").drained(1)
	r.tailer.mu.Lock()
	f := r.tailer.byPath[r.path("a.log")]
	r.tailer.mu.Unlock()
	for name, named := range map[string]bool{"a.log.1": true, "copy": false} {
		r.append(name, "1\n")
		g := r.tailer.findCopy(f, func(candidate) bool { return true },
			func(g *follower) bool { return g.file.holds(wire.Point{Offset: 2, Tail: wire.TailHash([]byte("1\n"))}) })
		if g == nil || g.path != r.path(name) || g.isHidden() == named {
			t.Errorf("%s: it is found: %v", name, g != nil)
		}
		if g != nil {
			g.file.close()
		}
		os.Remove(r.path(name))
	}
}

// TestOnceEach: a file that changes between two looks has one past to a decision.
func TestOnceEach(t *testing.T) {
	held := false
	holds := onceEach(func(wire.Point) bool { held = !held; return held })
	a, b := wire.Point{Offset: 1}, wire.Point{Offset: 2}
	for range 2 {
		if !holds(a) {
			t.Error("a place is held at one look and not at the next")
		}
	}
	if holds(b) {
		t.Error("another place has the first one's answer")
	}
}
