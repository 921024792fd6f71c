package tail

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"fanin/internal/wire"
)

// hole makes a file end in a hole of n bytes that no disk has.
func (r *rig) hole(name string, n int64) *rig {
	r.Helper()
	fi, err := os.Stat(r.path(name))
	if err == nil {
		err = os.Truncate(r.path(name), fi.Size()+n)
	}
	if err != nil {
		r.Fatal(err)
	}
	return r
}

func (r *rig) skips() string {
	r.collector.mu.Lock()
	defer r.collector.mu.Unlock()
	return strings.Join(r.collector.skips, " ")
}

// A hole is skipped, whether it was ever written or not; what is on both sides
// are lines of their own, and a restart at either side of it agrees.
func TestHoles(t *testing.T) {
	for name, fill := range map[string]func(r *rig, n int){
		"sparse":  func(r *rig, n int) { r.hole("a.log", int64(n)) },
		"written": func(r *rig, n int) { r.append("a.log", string(make([]byte, n))) },
	} {
		t.Run(name, func(t *testing.T) {
			const long = 20 << 20
			r := newRig(t).append("a.log", "")
			fill(r, 5)
			r.append("a.log", "one\ntwo")
			fill(r, long)
			r.append("a.log", "three\nfour\n")
			fill(r, leastHole)
			r.append("a.log", "five\n").run().expect("one two three four five")
			at := 5 + len("one\ntwo") + long
			want := fmt.Sprintf("0..5 12..%d %d..%d", at, at+11, at+11+leastHole)
			if got := r.skips(); got != want {
				t.Errorf("skipped %s, want %s", got, want)
			}
			if n := r.tailer.Counts()["hole_bytes"]; n != 5+long+leastHole {
				t.Errorf("counted %d bytes", n)
			}
			if n := r.tailer.Status()[0].Holes; n != 5+long+leastHole {
				t.Errorf("the status has %d bytes", n)
			}
			for range 3 {
				r.halt()
				r.append("a.log", "six\n").run().drained(1)
			}
			r.expect("one two three four five six six six")
		})
	}
}

// A process that ends at a hole's edges resumes there: nothing is sent twice, and
// nothing is mistaken for the rest of a line.
func TestHoleAndRestart(t *testing.T) {
	for stop := range 4 {
		r := newRig(t).append("a.log", "one\ntwo").hole("a.log", 1<<20).append("a.log", "three\n")
		n := 0
		reached := make(chan struct{})
		r.collector.fail = func(b wire.Batch) error {
			if b.Op == wire.OpOpen {
				return nil
			}
			if n++; n == stop+1 {
				close(reached)
			}
			if n > stop {
				return fmt.Errorf("not before the restart")
			}
			return nil
		}
		r.run()
		if stop < 4 {
			<-reached
		}
		r.halt()
		r.collector.refuse(nil)
		r.run().expect("one two three")
		if got := r.skips(); got != fmt.Sprintf("7..%d", 7+1<<20) {
			t.Errorf("after %d batches: skipped %s", stop, got)
		}
	}
}

// Room that a program reserved is no hole: its lines come later. Neither is one
// that parallel writes leave for a moment.
func TestReservedRoom(t *testing.T) {
	for name, reserved := range map[string]string{"written": string(make([]byte, 3<<20)), "sparse": ""} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t).append("a.log", "one\n").append("a.log", reserved)
			if reserved == "" {
				r.hole("a.log", 3<<20)
			}
			r.run().expect("one")
			f, err := os.OpenFile(r.path("a.log"), os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			at, want := int64(4), "one"
			for i := range 20 {
				line := fmt.Sprintf("line%d\n", i)
				f.WriteAt([]byte(line), at)
				at += int64(len(line))
				want += fmt.Sprintf(" line%d", i)
				r.expect(want)
			}
			if got := r.skips(); got != "" {
				t.Errorf("skipped %s", got)
			}
		})
	}
	t.Run("parallel", func(t *testing.T) {
		r := newRig(t).append("a.log", "one\n")
		r.change = func(t *Tailer) { t.Poll = 2 * time.Second } // a hole must exist for 8 s at least
		r.run().expect("one")
		f, err := os.OpenFile(r.path("a.log"), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		two := strings.Repeat("2", 2000) + "\n"
		f.WriteAt([]byte("three\n"), int64(4+len(two)))
		r.await(func() bool { // it was read, and is waited for
			x := r.follower("a.log")
			x.file.f.all.mu.Lock()
			defer x.file.f.all.mu.Unlock()
			return x.reading.eof.Load() > 2000 && !x.file.f.held
		})
		f.WriteAt([]byte(two), 4)
		r.expect("one " + two[:2000] + " three")
		if got := r.skips(); got != "" {
			t.Errorf("skipped %s", got)
		}
	})
}

// follower is that of the file of a name.
func (r *rig) follower(name string) *follower {
	r.tailer.mu.Lock()
	defer r.tailer.mu.Unlock()
	return r.tailer.byPath[r.path(name)]
}

// NULs that were seen are assumed to be there for a while only, and never when the end of
// the hole is found.
func TestHoleIsLookedAtAgain(t *testing.T) {
	r := newRig(t).append("a.log", "one\n"+string(make([]byte, 1<<20)))
	f, err := openFile(r.path("a.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	w, err := os.OpenFile(r.path("a.log"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	h, block := &holes{}, make([]byte, 64<<10)
	end := func(wantEnd int64, wantFound bool) {
		t.Helper()
		if at, found, err := h.end(t.Context(), f, 4, block); err != nil || found != wantFound || at != wantEnd {
			t.Fatalf("the hole ends at %d (%v, %v), want %d (%v)", at, found, err, wantEnd, wantFound)
		}
	}
	end(4+1<<20, false)
	w.WriteAt([]byte("two\n"), 1<<19)
	end(4+1<<20, false) // assumed
	if h.again.IsZero() {
		t.Fatal("it is never looked at again")
	}
	h.looked = h.looked.Add(-lookAgain)
	end(1<<19, true)
	w.WriteAt([]byte("zero\n"), 1<<18)
	end(1<<18, true)
	w.WriteAt(make([]byte, 5), 1<<18)
	w.WriteAt(make([]byte, 5), 1<<19)
	end(4+1<<20, false)
	w.WriteAt([]byte("two\n"), 1<<19)
	r.append("a.log", "three\n")
	end(1<<19, true)
}

// A few NULs are text.
func TestFewNULs(t *testing.T) {
	few := strings.Repeat("\x00", leastHole-1)
	r := newRig(t).append("a.log", "a\x00b\n\x00\n"+few+"c\n"+few+"\n").run()
	r.expect("a\x00b \x00 " + few + "c " + few)
	if got := r.skips(); got != "" {
		t.Errorf("skipped %s", got)
	}
}

// A file that is truncated and written on where it was, again and again, by a
// program that does not append: each time its lines before are in a copy.
func TestTruncatedWithoutAppend(t *testing.T) {
	r := newRig(t)
	f, err := os.Create(r.path("a.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var want strings.Builder
	write := func(text string) {
		want.WriteString(text)
		f.WriteString(text)
	}
	write(numbered("first", 2000))
	r.run().expectSet(want.String())
	for i := range 4 {
		r.copyTruncate("a.log", fmt.Sprint("copy", i))
		write(numbered(fmt.Sprint("next", i), 50))
		r.expectSet(want.String())
	}
}

// A hole that was passed over looks like any longer one. When the file was copied
// and truncated before anything behind the hole was kept, that is in the copy.
func TestHoleProvesLittle(t *testing.T) {
	r := newRig(t)
	f, err := os.Create(r.path("a.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.WriteAt([]byte("one\n"), 1<<20)
	refused := make(chan struct{}, 100)
	r.collector.fail = func(b wire.Batch) error {
		if b.Op == wire.OpData {
			select {
			case refused <- struct{}{}:
			default:
			}
			return fmt.Errorf("not yet")
		}
		return nil
	}
	r.run()
	<-refused
	r.copyTruncate("a.log", "copy")
	f.WriteAt([]byte("two\n"), 1<<20+4)
	r.collector.refuse(nil)
	r.expectSet("one two")
}

func FuzzFirstHole(f *testing.F) {
	f.Add([]byte("a\x00b"), uint16(3), uint16(600), true)
	f.Add([]byte{}, uint16(0), uint16(4), true)
	f.Add([]byte("x"), uint16(511), uint16(512), false)
	f.Fuzz(func(t *testing.T, around []byte, at, length uint16, start bool) {
		i := min(int(at), len(around))
		b := bytes.Join([][]byte{around[:i], make([]byte, int(length)%2000), around[i:]}, nil)
		want := -1
		for from := range b {
			least := leastHole
			if from == 0 && start {
				least = leastFirstHole
			}
			if from+least <= len(b) && allNUL(b[from:from+least]) {
				want = from
				break
			}
		}
		if got := firstHole(b, start); got != want {
			t.Fatalf("the first hole of %q is at %d, found at %d", b, want, got)
		}
	})
}

// The hole that a complete file ends in is passed over too: nothing will fill it.
func TestHoleAtTheEnd(t *testing.T) {
	r := newRig(t).append("a.log", "one\ntwo").hole("a.log", 1<<20)
	r.change = func(t *Tailer) { t.Tables[0].Whole = true }
	r.run().expect("one two").drained(1)
	if got := r.skips(); got != fmt.Sprintf("7..%d", 7+1<<20) {
		t.Errorf("skipped %s", got)
	}
	r.halt()
	r.run().drained(1).append("a.log", "three\n").expect("one two three")
}
