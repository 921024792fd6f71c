package tail

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fanin/internal/wire"
)

// openFile opens a file alone.
func openFile(path string) (*file, error) {
	return newDescriptors(1, slog.New(slog.DiscardHandler), new(atomic.Uint64)).openFile(path)
}

// few lets no more than so many files be open at a time.
func (r *rig) few(files int) *rig {
	r.change = func(t *Tailer) { t.Files = files }
	return r
}

// withinLimit wants no more descriptors given away than there are, and none that
// wait for nothing.
func (r *rig) withinLimit() *rig {
	r.Helper()
	d := r.tailer.descriptors
	d.mu.Lock()
	defer d.mu.Unlock()
	open := 0
	r.tailer.mu.Lock()
	defer r.tailer.mu.Unlock()
	for _, f := range r.tailer.followers {
		if f.file.f.file != nil {
			open++
		}
	}
	if d.open > d.most || open > d.most {
		r.Errorf("%d descriptors are given away, %d files are open; at most %d", d.open, open, d.most)
	}
	return r
}

// Many more files than may be open at a time are followed in turn, also when they
// all grow, when they are rotated, and over a restart.
func TestMoreFilesThanDescriptors(t *testing.T) {
	const files = 200
	r := newRig(t)
	r.change = func(t *Tailer) { t.Files, t.LetGo = 7, time.Minute } // a look takes long under load
	var want strings.Builder
	write := func(round int) {
		for i := range files {
			line := fmt.Sprintf("%d.%d\n", i, round)
			want.WriteString(line)
			r.append(fmt.Sprintf("f%d.log", i), line)
		}
	}
	write(0)
	r.run().expectSet(want.String()).withinLimit()
	write(1)
	r.expectSet(want.String()).withinLimit()
	for i := range files {
		switch name := fmt.Sprintf("f%d.log", i); i % 3 {
		case 0:
			r.rename(name, name+".1")
		case 1:
			r.append(name, fmt.Sprintf("%d.last\n", i)).rename(name, "old"+name)
			fmt.Fprintf(&want, "%d.last\n", i)
		}
	}
	write(2)
	r.expectSet(want.String()).withinLimit()
	r.halt()
	write(3)
	r.run().expectSet(want.String()).withinLimit()
	if r.tailer.Counts()["closed_idle_files"] == 0 {
		t.Error("no file was closed: nothing was tested")
	}
	if n := r.tailer.Counts()["vanished_files"]; n != 0 {
		t.Errorf("%d files vanished", n)
	}
}

// A file that always has more to send gives others their turn.
func TestBusyFilesTakeTurns(t *testing.T) {
	r := newRig(t).few(1)
	r.collector.fail = func(b wire.Batch) error {
		if b.Op == wire.OpData && b.Source == "busy" {
			r.append("busy.log", "more\n")
		}
		return nil
	}
	r.append("busy.log", "first\n").run().await(func() bool { return strings.Contains(r.collector.lines(), "more") })
	r.append("a.log", "a\n").append("b.log", "b\n").await(func() bool {
		words := strings.Fields(r.collector.lines())
		return slices.Contains(words, "a") && slices.Contains(words, "b") && r.tailer.Counts()["closed_idle_files"] > 1
	}).withinLimit()
	before := strings.Count(r.collector.lines(), "more")
	r.await(func() bool { return strings.Count(r.collector.lines(), "more") > before })
}

// A file with unsent lines stays open: deleted, it loses none of them. The others
// wait for their turn until the collector takes lines again.
func TestUnsentLinesKeepTheirDescriptor(t *testing.T) {
	r := newRig(t).few(2)
	for i := range 6 {
		r.append(fmt.Sprintf("f%d.log", i), fmt.Sprintf("%d\n", i))
	}
	r.run().expectSet("0 1 2 3 4 5")
	refused := make(chan struct{})
	var once sync.Once
	r.collector.refuse(func(b wire.Batch) error {
		if b.Op == wire.OpData {
			once.Do(func() { close(refused) })
			return fmt.Errorf("away")
		}
		return nil
	})
	r.append("f0.log", "unsent\n")
	<-refused
	for i := 1; i < 6; i++ {
		r.append(fmt.Sprintf("f%d.log", i), fmt.Sprintf("more%d\n", i))
	}
	f := r.follower("f0.log")
	os.Remove(r.path("f0.log"))
	r.hidden(f).collector.refuse(nil)
	r.expectSet("0 1 2 3 4 5 unsent more1 more2 more3 more4 more5").withinLimit()
}

// A file that is deleted while it is closed is counted and reported; its stream
// ends, and another file under its name is another file.
func TestVanishedWhileClosed(t *testing.T) {
	r := newRig(t)
	var log bytes.Buffer
	var mu sync.Mutex
	r.change = func(t *Tailer) {
		t.Files, t.Forget = 1, 50*time.Millisecond
		t.Log = slog.New(slog.NewTextHandler(writer(func(p []byte) { mu.Lock(); log.Write(p); mu.Unlock() }), nil))
	}
	said := func(text string) int {
		mu.Lock()
		defer mu.Unlock()
		return strings.Count(log.String(), text)
	}
	r.append("a.log", "one\n").append("b.log", "two\n").run().expectSet("one two")
	r.await(func() bool { return r.closed("a.log") != r.closed("b.log") })
	name, other := "a.log", "b.log"
	if !r.closed(name) {
		name, other = other, name
	}
	old := r.follower(name)
	os.WriteFile(r.path("new"), []byte("another\n"), 0o640)
	if err := os.Rename(r.path("new"), r.path(name)); err != nil {
		t.Fatal(err)
	}
	r.expectSet("one two another").await(func() bool {
		r.collector.mu.Lock()
		defer r.collector.mu.Unlock()
		return r.collector.ended == 1 && r.collector.watermarks[old.place.stream] == nil
	})
	if n := r.tailer.Counts()["vanished_files"]; n != 1 || said("vanished while it was closed") != 1 {
		t.Errorf("%d files vanished; logged is %s", n, log.String())
	}
	if said("raise the limit of open files") != 1 {
		t.Errorf("it does not say once which limit to raise: %s", log.String())
	}
	r.append(other, "three\n").expectSet("one two another three").halt()
	r.run().append(name, "four\n").expectSet("one two another three four")
}

// A file whose directory is not there, as before it is mounted, keeps its stream.
func TestVanishedDirectory(t *testing.T) {
	r := newRig(t)
	r.change = func(t *Tailer) { t.Files, t.Tables = 1, []Table{{Paths: []string{r.path("*.log"), r.path("*/*.log")}}} }
	if err := os.Mkdir(r.path("dir"), 0o750); err != nil {
		t.Fatal(err)
	}
	r.append("dir/a.log", "one\n").run().expect("one").append("b.log", "two\n").expect("one two")
	lines := "one two"
	for !r.closed("dir/a.log") { // it had another turn
		lines += " more"
		r.append("b.log", "more\n").expect(lines)
	}
	away := filepath.Join(r.TempDir(), "dir")
	if err := os.Rename(r.path("dir"), away); err != nil {
		t.Fatal(err)
	}
	r.await(func() bool { return r.tailer.Counts()["vanished_files"] == 1 && len(r.tailer.Status()) == 1 })
	if err := os.Rename(away, r.path("dir")); err != nil {
		t.Fatal(err)
	}
	r.append("dir/a.log", "three\n").expect(lines + " three")
}

// TestStreamStrays: missing files are searched for just before the follower of one is gone. They are searched for again,
// since a search takes no stream that has a follower.
func TestStreamStrays(t *testing.T) {
	r := newRig(t).append("a.log", "one\n").run().expect("one")
	f := r.follower("a.log")
	r.halt()
	f.attempts.away = time.Now().Add(-time.Hour)
	if !f.vanished() {
		t.Fatal("a file that has been away for long has not vanished")
	}
	r.tailer.strayed.Store(false) // by the search
	if r.tailer.drop(f); !r.tailer.strayed.Load() {
		t.Error("the stream strays, and no search is due")
	}
}

// A file that cannot be found for a moment is waited for.
func TestAwayForAMoment(t *testing.T) {
	r := newRig(t)
	r.change = func(t *Tailer) { t.Files, t.Grace = 1, time.Minute }
	r.append("a.log", "one\n").run().expect("one").append("b.log", "two\n").expect("one two")
	r.await(func() bool { return r.closed("a.log") })
	away := filepath.Join(r.TempDir(), "a.log")
	if err := os.Rename(r.path("a.log"), away); err != nil {
		t.Fatal(err)
	}
	r.await(func() bool {
		list := r.tailer.Status()
		return len(list) == 2 && list[0].Trouble == errVanished.Error()
	})
	if err := os.Rename(away, r.path("a.log")); err != nil {
		t.Fatal(err)
	}
	r.append("a.log", "three\n").expect("one two three")
	if n := r.tailer.Counts()["vanished_files"]; n != 0 {
		t.Errorf("%d files vanished", n)
	}
}

// A link that is turned to another file takes nothing from the one it led to.
func TestClosedBehindLink(t *testing.T) {
	r := newRig(t).few(1)
	elsewhere := t.TempDir()
	for _, name := range []string{"1", "2"} {
		if err := os.WriteFile(filepath.Join(elsewhere, name), []byte("file"+name+"\n"), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to string) {
		if err := os.Symlink(filepath.Join(elsewhere, to), r.path("new")); err != nil {
			t.Fatal(err)
		}
		r.rename("new", "a.log")
	}
	link("1")
	r.run().expect("file1").append("b.log", "b\n").expect("file1 b")
	r.await(func() bool { return r.closed("a.log") })
	f := r.follower("a.log")
	target, err := os.OpenFile(filepath.Join(elsewhere, "1"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	link("2")
	target.WriteString("rest\n")
	r.hidden(f).expectSet("file1 b rest file2")
	if n := r.tailer.Counts()["vanished_files"]; n != 0 {
		t.Errorf("%d files vanished", n)
	}
}

// What a file without lines holds back is nothing: empty files are closed too.
func TestManyEmptyFiles(t *testing.T) {
	r := newRig(t).few(2)
	for i := range 20 {
		r.append(fmt.Sprintf("f%d.log", i), "")
	}
	r.run().await(func() bool { return len(r.tailer.Status()) == 20 }).append("full.log", "1\n").expect("1")
	r.append("f7.log", "2\n").expect("1 2").withinLimit()
}

// closed reports whether the file of a name is closed for now.
func (r *rig) closed(name string) bool {
	f := r.follower(name)
	d := f.file.f.all
	d.mu.Lock()
	defer d.mu.Unlock()
	return f.file.f.file == nil
}

// writer is a function that is given what is written.
type writer func(p []byte)

func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

// A file without a name is never closed before it is done with, whatever waits.
func TestDeletedFileKeepsItsDescriptor(t *testing.T) {
	r := newRig(t)
	r.change = func(t *Tailer) { t.Files, t.Grace = 1, time.Second }
	f, err := os.Create(r.path("a.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.WriteString("one\n")
	r.run().expect("one").await(func() bool { return r.follower("a.log").file.f.resting() })
	os.Remove(r.path("a.log"))
	r.append("b.log", "b\n").await(func() bool { return r.follower("b.log") != nil && r.follower("b.log").file.f.hadItsTurn(0) })
	f.WriteString("two\n")
	r.expect("one two b")
}

// The status may be asked before anything is followed.
func TestCountsBeforeRun(t *testing.T) {
	if n, ok := new(Tailer).Counts()["closed_idle_files"]; n != 0 || !ok {
		t.Error("there is no count")
	}
}

// resting reports whether the file may be closed.
func (x *descriptor) resting() bool {
	x.all.mu.Lock()
	defer x.all.mu.Unlock()
	return x.rest != nil && !x.held
}

// unreadable has reads of an open file fail, until it is opened again or healed.
func (r *rig) unreadable(name string) (heal func()) {
	r.Helper()
	blind, err := os.OpenFile(r.path(name), os.O_WRONLY, 0)
	if err != nil {
		r.Fatal(err)
	}
	x := r.follower(name).file.f
	x.all.mu.Lock()
	defer x.all.mu.Unlock()
	old := x.file
	x.file = blind
	return func() {
		x.all.mu.Lock()
		defer x.all.mu.Unlock()
		if x.file == blind {
			x.file, old = old, blind
		}
		old.Close()
	}
}

// TestUnreadableFilesYield: files that cannot be read do not keep the descriptors
// that others wait for. When they can be read again, they resume where they were:
// that a place cannot be read does not say that it has changed.
func TestUnreadableFilesYield(t *testing.T) {
	r := newRig(t).few(2).append("a.log", "a1\n").append("b.log", "b1\n").run().expectSet("a1 b1")
	healA, healB := r.unreadable("a.log"), r.unreadable("b.log")
	r.append("a.log", "a2\n").append("b.log", "b2\n").await(func() bool {
		return !slices.ContainsFunc(r.tailer.Status(), func(f FileStatus) bool { return f.Trouble == "" })
	})
	r.append("c.log", "c1\n").append("d.log", "d1\n").await(func() bool {
		kept := strings.Fields(r.collector.lines())
		return slices.Contains(kept, "c1") && slices.Contains(kept, "d1")
	}).withinLimit()
	healA()
	healB()
	r.expectSet("a1 b1 c1 d1 a2 b2")
	if n := r.tailer.Counts()["truncated_files"]; n != 0 {
		t.Errorf("%d files count as truncated", n)
	}
}
