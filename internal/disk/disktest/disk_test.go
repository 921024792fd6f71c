package disktest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"fanin/internal/disk"
)

func create(t *testing.T, d *Disk, name, text string) *disk.File {
	t.Helper()
	f, err := d.Under.Open(filepath.Join(d.Dir, name), os.O_CREATE|os.O_RDWR, 0o640)
	if err == nil {
		_, err = f.Write([]byte(text))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func settle(t *testing.T, d *Disk, files ...*disk.File) {
	t.Helper()
	for _, f := range files {
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Under.SyncDir(d.Dir); err != nil {
		t.Fatal(err)
	}
}

// holds is what is on the disk: "name=content name=content".
func holds(t *testing.T, dir string) (all string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text := []byte(holdsBelow(t, dir, e))
		all += fmt.Sprintf(" %s=%s", e.Name(), bytes.ReplaceAll(text, []byte{0}, []byte{'0'}))
	}
	return all
}

func holdsBelow(t *testing.T, dir string, e os.DirEntry) string {
	t.Helper()
	if e.IsDir() {
		return "[" + holds(t, filepath.Join(dir, e.Name())) + " ]"
	}
	b, err := os.ReadFile(filepath.Join(dir, e.Name()))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// left is what the seeds with a meaning leave of what was not synced.
func left(t *testing.T, prepare, change func(d *Disk), want ...string) {
	t.Helper()
	for seed, want := range want {
		d := New(t)
		prepare(d)
		change(d)
		d.Cut(uint64(seed))
		if got := holds(t, d.Dir); got != want {
			t.Errorf("seed %d:\nleft are%s\nwant    %s", seed, got, want)
		}
	}
}

func TestCut(t *testing.T) {
	var f *disk.File
	synced := func(d *Disk) { f = create(t, d, "a", "one"); settle(t, d, f) }
	write := func(d *Disk) { f.WriteAt([]byte("twofour"), 0) }
	left(t, synced, write, " a=one", " a=twofour", " a=one", " a=twofour", " a=one0000")
	fresh := func(d *Disk) { create(t, d, "b", "new") }
	left(t, synced, fresh, " a=one", " a=one b=new", " a=one b=", " a=one", " a=one b=000")
	left(t, synced, func(d *Disk) { f := create(t, d, "b", "new"); f.Sync() }, " a=one", " a=one b=new", " a=one b=new", " a=one", " a=one b=new")
	left(t, synced, func(d *Disk) { create(t, d, "b", "new"); d.Under.SyncDir(d.Dir) }, " a=one b=", " a=one b=new", " a=one b=", " a=one b=new", " a=one b=000")
	left(t, synced, func(d *Disk) { os.Remove(f.Name()) }, " a=one", "", "", " a=one", "")
	left(t, synced, func(d *Disk) { f.Truncate(1) }, " a=one", " a=o", " a=one", " a=o", " a=o")
	rename := func(d *Disk) { os.Rename(f.Name(), f.Name()+"1"); create(t, d, "a", "next") }
	left(t, synced, rename, " a=one", " a=next a1=one", " a= a1=one", " a=one", " a=0000 a1=one")
	replace := func(d *Disk) { create(t, d, "t", "next"); os.Rename(filepath.Join(d.Dir, "t"), f.Name()) }
	left(t, synced, replace, " a=one", " a=next", " a=", " a=one", " a=0000")
	made := func(d *Disk) { os.Mkdir(filepath.Join(d.Dir, "dir"), 0o750); create(t, d, "dir/a", "one").Sync() }
	left(t, synced, made, " a=one", " a=one dir=[ a=one ]", " a=one dir=[ a=one ]", " a=one", " a=one dir=[ a=one ]")
	replaced := func(d *Disk) {
		if err := d.Under.WriteFile(f.Name(), []byte("next"), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	for range Losses {
		left(t, synced, replaced, slices.Repeat([]string{" a=next"}, Losses)...)
	}
}

// TestCutAnything: random seeds leave pages in any of the states they had, in any
// order, any of the names, and never what could not be.
func TestCutAnything(t *testing.T) {
	seen := make(map[string]int)
	for seed := uint64(Losses); seed < 400; seed++ {
		d := New(t)
		f := create(t, d, "a", "")
		settle(t, d, f)
		for _, c := range []byte("123") {
			f.WriteAt(bytes.Repeat([]byte{c}, 2*pageSize), 0)
		}
		create(t, d, "b", "")
		os.Rename(filepath.Join(d.Dir, "b"), filepath.Join(d.Dir, "c"))
		create(t, d, "b", "")
		d.Cut(seed)
		b, err := os.ReadFile(filepath.Join(d.Dir, "a"))
		if err != nil {
			t.Fatal(err)
		}
		for at := range b {
			if at%lineSize > 0 && b[at] != b[at-1] {
				t.Fatalf("seed %d: torn at byte %d", seed, at)
			}
		}
		if len(b) == 2*pageSize {
			seen[fmt.Sprintf("pages %q", []byte{b[0], b[pageSize]})]++
		}
		_, noB := os.Stat(filepath.Join(d.Dir, "b"))
		_, noC := os.Stat(filepath.Join(d.Dir, "c"))
		seen[fmt.Sprintf("size %d", len(b))]++
		seen[fmt.Sprint("names ", noB == nil, noC == nil)]++
		d.Remove()
	}
	pages := 0
	for what := range seen {
		if bytes.HasPrefix([]byte(what), []byte("pages")) {
			pages++
		}
	}
	if pages != 16 || seen["size 0"] == 0 || seen[fmt.Sprint("size ", 2*pageSize)] == 0 || len(seen) != 16+2+4 {
		t.Errorf("seen were %v", seen)
	}
}

// TestKill: all that was written is there after a kill, and may be lost later.
func TestKill(t *testing.T) {
	d := New(t)
	f := create(t, d, "a", "one")
	settle(t, d, f)
	inode := func() uint64 {
		fi, err := os.Stat(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		return disk.Inode(fi)
	}
	before := inode()
	d.StopAt(2, 2)
	f.WriteAt([]byte("1"), 0)
	if n, err := f.WriteAt([]byte("two"), 3); n != 2 || !errors.Is(err, ErrStopped) {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, ErrStopped) || !d.Stopped() || d.Accesses() != 3 {
		t.Errorf("%v; stopped %v after %d accesses", err, d.Stopped(), d.Accesses())
	}
	d.Kill()
	if got := holds(t, d.Dir); got != " a=1netw" {
		t.Errorf("after a kill:%s", got)
	}
	d.Stop()
	f.File.WriteAt([]byte("not on the disk any more"), 0)
	d.Cut(0)
	if got := holds(t, d.Dir); got != " a=one" || inode() != before {
		t.Errorf("after a cut:%s, inode %d, before %d", got, inode(), before)
	}
}

// TestFailSync: what a sync that failed left unwritten is not written by the next,
// unless it is given to the system again.
func TestFailSync(t *testing.T) {
	for _, again := range []bool{false, true} {
		d := New(t)
		f := create(t, d, "a", "one")
		settle(t, d, f)
		d.FailSync(1, "a")
		f.WriteAt([]byte("two"), 0)
		if err := f.Sync(); !errors.Is(err, syscall.EIO) || !d.Failed() {
			t.Errorf("%v", err)
		}
		want := " a=one000"
		if again {
			f.WriteAt([]byte("two"), 0)
			want = " a=two000"
		}
		f.Truncate(6)
		settle(t, d, f)
		d.Cut(0)
		if got := holds(t, d.Dir); got != want {
			t.Errorf("written again %v: left are%s, want%s", again, got, want)
		}
	}
}
