package tail

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
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
func (k *keeper) refuse(fail func(wire.Batch) error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fail = fail
}

// await waits until something is so.
func (r *rig) await(so func() bool) *rig {
	r.Helper()
	for end := time.Now().Add(r.patience); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("waited in vain; %+v", r.tailer.Status())
		}
	}
	return r
}

// drained waits until all of so many files is kept.
func (r *rig) drained(files int) *rig {
	r.Helper()
	return r.await(func() bool {
		list := r.tailer.Status()
		return len(list) == files && !slices.ContainsFunc(list, func(f FileStatus) bool { return f.Acked != f.Size })
	})
}

// lines is n lines that no other call makes.
func lines(name string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%s.%d\n", name, i)
	}
	return b.String()
}

// TestCopiesAfterAKill: the process was killed before it wrote any mark, and the
// files were copied and truncated while it was away. The collector remembers
// enough: no copy is sent again, whichever follower begins first.
func TestCopiesAfterAKill(t *testing.T) {
	r := newRig(t)
	var want strings.Builder
	const files = 8
	for i := range files {
		text := lines(fmt.Sprint("old", i), 200)
		want.WriteString(text)
		r.append(fmt.Sprintf("app%d.log", i), text)
	}
	r.run().expectSet(want.String())
	r.halt()
	r.state = t.TempDir()
	for i := range files {
		name := fmt.Sprintf("app%d.log", i)
		text := lines(fmt.Sprint("new", i), 5)
		want.WriteString(text)
		r.copyTruncate(name, name+".1").append(name, text)
	}
	r.run().drained(2 * files).expectSet(want.String())
}

// TestOldMark: a mark from before the first line was acked, of a stream that went
// to a copy just when the process was killed. The collector knows how far it is.
func TestOldMark(t *testing.T) {
	r := newRig(t).append("app.log", "")
	r.run().await(func() bool { return len(r.keeper.welcome().Streams) == 1 }).halt()
	old := t.TempDir()
	if err := os.CopyFS(old, os.DirFS(r.state)); err != nil {
		t.Fatal(err)
	}
	sent := lines("old", 50)
	r.append("app.log", sent).run().expectSet(sent)
	r.keeper.refuse(func(b wire.Batch) error {
		if bytes.HasSuffix(b.Identity, []byte("app.log.1")) {
			return errors.New("not before the kill")
		}
		return nil
	})
	r.copyTruncate("app.log", "app.log.1").append("app.log", "new\n").expectSet(sent + "new")
	r.halt()
	r.state = old
	r.keeper.refuse(nil)
	r.run().drained(2).expectSet(sent + "new")
}

// TestOnce: a file that changes between two looks has one past to a decision.
func TestOnce(t *testing.T) {
	held := false
	holds := once(func(wire.Point) bool { held = !held; return held })
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
