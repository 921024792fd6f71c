package tail

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"fanin/internal/wire"
)

// refuseData has no line kept.
func (k *collector) refuseData() {
	k.refuse(func(b wire.Batch) error {
		if b.Op == wire.OpData {
			return errors.New("away")
		}
		return nil
	})
}

// hidden waits until no table names the file of a name any more.
func (r *rig) hidden(f *follower) *rig {
	r.Helper()
	return r.await(f.isHidden)
}

// A stop waits until the collector took what only this process can still read.
func TestStopWaitsForDeletedFiles(t *testing.T) {
	r := newRig(t).append("a.log", "one\n")
	r.change = func(t *Tailer) { t.StopWait = 20 * time.Second }
	r.run().expect("one")
	r.collector.refuseData()
	f := r.follower("a.log")
	r.append("a.log", "two\nthree")
	os.Remove(r.path("a.log"))
	r.hidden(f)
	r.stop()
	r.await(func() bool { files, _ := r.tailer.atRisk(); return files == 1 })
	r.collector.refuse(nil)
	r.halt()
	r.expect("one two three")
	if lost := r.tailer.Lost(); lost != nil {
		t.Errorf("lost %+v", lost)
	}
}

// What no start finds is lost, and is reported: to the byte and the line.
func TestStopReportsWhatIsLost(t *testing.T) {
	for name, away := range map[string]func(r *rig) error{
		"deleted": func(r *rig) error { return os.Remove(r.path("a.log")) },
		"moved":   func(r *rig) error { return os.Rename(r.path("a.log"), filepath.Join(r.TempDir(), "a.log")) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t).append("a.log", "one\n").append("b.log", "b\n").append("c.log", "c\n")
			r.change = func(t *Tailer) { t.StopWait = time.Millisecond }
			r.run().expectSet("one b c")
			r.collector.refuseData()
			f, g := r.follower("a.log"), r.follower("c.log")
			r.append("a.log", "two\nthree").append("b.log", "stays\n").append("c.log", string(make([]byte, 600)))
			if err := errors.Join(away(r), os.Remove(r.path("c.log"))); err != nil {
				t.Fatal(err)
			}
			r.hidden(f).hidden(g).halt()
			want := []Lost{{Path: r.path("a.log"), Offset: 4, Bytes: 9, Lines: 2}}
			if got := r.tailer.Lost(); !reflect.DeepEqual(got, want) {
				t.Errorf("lost %+v, want %+v", got, want)
			}
			r.collector.refuse(nil)
			r.run().expectSet("one b c stays")
		})
	}
}

// A file that got another name beside its old one is found by the next start, and
// by the one after that, whether or not any line of it was ever sent.
func TestStopLosesNoRenamedFile(t *testing.T) {
	for _, sent := range []string{"", "one\n"} {
		r := newRig(t).append("a.log", sent)
		r.change = func(t *Tailer) { t.StopWait, t.LetGo = 20*time.Second, time.Minute }
		r.run()
		if sent == "" { // not even its stream is known
			r.collector.refuse(func(wire.Batch) error { return errors.New("away") })
		} else {
			r.expect("one").collector.refuseData()
		}
		r.append("a.log", "two\n").await(func() bool { return len(r.tailer.Status()) == 1 })
		f := r.follower("a.log")
		r.rename("a.log", "old").append("a.log", "three\n").hidden(f)
		for range 3 {
			r.halt()
			if lost := r.tailer.Lost(); lost != nil {
				t.Errorf("lost %+v", lost)
			}
			r.run().await(func() bool { return len(r.tailer.Status()) == 2 })
		}
		r.collector.refuse(nil)
		r.expectSet(sent + "two three")
	}
}

// The same of a copy that no pattern names.
func TestStopLosesNoCopy(t *testing.T) {
	r := newRig(t).append("a.log", "one\n")
	r.change = func(t *Tailer) { t.StopWait, t.LetGo = 20*time.Second, time.Minute }
	r.run().expect("one").collector.refuseData()
	r.append("a.log", "two\n").copyTruncate("a.log", "copy").append("a.log", "three\n")
	for range 3 {
		r.await(func() bool { return len(r.tailer.Status()) == 2 }).halt()
		if lost := r.tailer.Lost(); lost != nil {
			t.Errorf("lost %+v", lost)
		}
		r.run()
	}
	r.collector.refuse(nil)
	r.expectSet("one two three")
}

func TestCountLines(t *testing.T) {
	r := newRig(t)
	big := string(make([]byte, 64<<10))
	for text, want := range map[string]int64{"": 0, "a\n": 1, "a\nb": 2, "\n\n": 2, big: 0, "a" + big: 1, "a\n" + big: 1, big + "a\n": 1, big + big + "a": 1} {
		os.Remove(r.path("x"))
		r.append("x", "skipped\n"+text)
		f, err := openFile(r.path("x"))
		if err != nil {
			t.Fatal(err)
		}
		if got := f.countLines(8, int64(len(text))); got != want {
			t.Errorf("%s: %d lines, want %d", fmt.Sprintf("%.10q (%d bytes)", text, len(text)), got, want)
		}
		f.close()
	}
}
