package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// failing is a disk whose accesses of one kind fail, after n bytes of a write.
func failing(op Op, n int, err error) *Disk {
	return &Disk{Fault: func(got Op, _ string) (int, error) {
		if got == op {
			return n, err
		}
		return 0, nil
	}}
}

func create(t *testing.T, d *Disk, path string) *File {
	t.Helper()
	f, err := d.Open(path, os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
}

// Each access can be made to fail, says so as the system would, and does nothing.
func TestFault(t *testing.T) {
	for _, c := range []struct {
		op   Op
		call func(d *Disk, f *File, dir string) error
	}{
		{OpOpen, func(d *Disk, _ *File, dir string) error {
			_, err := d.Open(filepath.Join(dir, "new"), os.O_CREATE|os.O_WRONLY, 0o600)
			return err
		}},
		{OpRead, func(_ *Disk, f *File, _ string) error { _, err := f.ReadAt(make([]byte, 1), 0); return err }},
		{OpWrite, func(_ *Disk, f *File, _ string) error { _, err := f.Write([]byte("new")); return err }},
		{OpWrite, func(_ *Disk, f *File, _ string) error { _, err := f.WriteAt([]byte("new"), 0); return err }},
		{OpSync, func(_ *Disk, f *File, _ string) error { return f.Sync() }},
		{OpSync, func(d *Disk, _ *File, dir string) error { return d.SyncDir(dir) }},
		{OpGrow, func(_ *Disk, f *File, _ string) error { return f.Reserve(0, 100) }},
		{OpFill, func(_ *Disk, f *File, _ string) error { return f.Zero(100) }},
		{OpMkdir, func(d *Disk, _ *File, dir string) error { return d.MkdirAll(filepath.Join(dir, "new"), 0o750) }},
		{OpRename, func(d *Disk, f *File, dir string) error { return d.Rename(f.Name(), filepath.Join(dir, "new")) }},
		{OpRename, func(d *Disk, f *File, dir string) error { return d.RenameNew(f.Name(), filepath.Join(dir, "new")) }},
		{OpRemove, func(d *Disk, f *File, _ string) error { return d.Remove(f.Name()) }},
		{OpOpen, func(d *Disk, _ *File, dir string) error { _, err := d.Lock(filepath.Join(dir, "new")); return err }},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "file")
		write(t, path, "old")
		broken := failing("", 0, nil)
		f := create(t, broken, path)
		broken.Fault = failing(c.op, 0, syscall.EIO).Fault
		err := c.call(broken, f, dir)
		if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v, want EIO and the path", c.op, err)
		}
		if got := content(t, path); got != "old" {
			t.Errorf("%s: the file now holds %q", c.op, got)
		}
		if _, err := os.Stat(filepath.Join(dir, "new")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: a new file is there", c.op)
		}
		broken.Fault = nil
		if err := c.call(broken, f, dir); err != nil {
			t.Errorf("%s, the fault mended: %v", c.op, err)
		}
	}
}

// A write may fail halfway, as on a disk that fills up.
func TestFaultLetsSomeThrough(t *testing.T) {
	for n, want := range map[int]string{0: "", 3: "abc", 6: "abcdef", 100: "abcdef"} {
		d := failing(OpWrite, n, syscall.ENOSPC)
		for name, write := range map[string]func(f *File) (int, error){
			"Write":   func(f *File) (int, error) { return f.Write([]byte("abcdef")) },
			"WriteAt": func(f *File) (int, error) { return f.WriteAt([]byte("abcdef"), 0) },
		} {
			f := create(t, d, filepath.Join(t.TempDir(), "file"))
			got, err := write(f)
			if got != len(want) || !IsFull(err) || content(t, f.Name()) != want {
				t.Errorf("%s, %d bytes let through: %d, %v, %q", name, n, got, err, content(t, f.Name()))
			}
		}
	}
}

// Whichever access fails, the file holds all of the old or all of the new, and
// what is left behind is not in the way of the next try.
func TestWriteFileIsWhole(t *testing.T) {
	const before, after = "the old", "the new, which is longer"
	for fail := 1; ; fail++ {
		path := filepath.Join(t.TempDir(), "slot")
		write(t, path, before)
		n, failed := 0, Op("")
		d := &Disk{Fault: func(op Op, _ string) (int, error) {
			if n++; n == fail {
				failed = op
				return 5, syscall.ENOSPC
			}
			return 0, nil
		}}
		err := d.WriteFile(path, []byte(after), 0o600)
		if failed == "" {
			if err != nil || content(t, path) != after || fail < 5 {
				t.Fatalf("%d accesses, none fails: %q, %v", n, content(t, path), err)
			}
			return
		}
		got := content(t, path)
		if !IsFull(err) || got != before && got != after {
			t.Errorf("access %d, a %s, fails: %q, %v", fail, failed, got, err)
		}
		if failed != OpSync && got != before {
			t.Errorf("access %d, a %s, fails: the file is replaced already", fail, failed)
		}
		if err := new(Disk).WriteFile(path, []byte(after), 0o600); err != nil || content(t, path) != after {
			t.Errorf("the next try after a failed %s: %q, %v", failed, content(t, path), err)
		}
	}
}

// The order of the accesses is what makes it safe.
func TestWriteFileOrder(t *testing.T) {
	dir := t.TempDir()
	var ops []string
	d := &Disk{Fault: func(op Op, path string) (int, error) {
		ops = append(ops, fmt.Sprint(op, " ", filepath.Base(path)))
		return 0, nil
	}}
	if err := d.WriteFile(filepath.Join(dir, "slot"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := []string{"open .slot.new", "write .slot.new", "sync .slot.new", "rename slot", "sync " + filepath.Base(dir)}
	if fmt.Sprint(ops) != fmt.Sprint(want) {
		t.Errorf("%q, want %q", ops, want)
	}
	if fi, err := os.Stat(filepath.Join(dir, "slot")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi, err)
	}
}

func TestRename(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	write(t, from, "new")
	write(t, to, "old")
	var d *Disk // nil is the real one
	if err := d.RenameNew(from, to); !errors.Is(err, fs.ErrExist) || content(t, to) != "old" || content(t, from) != "new" {
		t.Errorf("to a name that is taken: %v, %q", err, content(t, to))
	}
	if err := renameLooking(from, to); !errors.Is(err, fs.ErrExist) || content(t, to) != "old" {
		t.Errorf("in two steps, to a name that is taken: %v, %q", err, content(t, to))
	}
	if err := d.Rename(from, to); err != nil || content(t, to) != "new" {
		t.Errorf("replacing: %v, %q", err, content(t, to))
	}
	for i, rename := range []func(from, to string) error{d.RenameNew, renameLooking} {
		free := filepath.Join(dir, fmt.Sprint("free", i))
		if err := rename(to, free); err != nil || content(t, free) != "new" {
			t.Errorf("to a free name: %v", err)
		}
		if err := rename(to, free+"2"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("of a file that is not there: %v", err)
		}
		if err := os.Symlink("nowhere", to); err != nil {
			t.Fatal(err)
		}
		if err := rename(free, to); !errors.Is(err, fs.ErrExist) {
			t.Errorf("to a link that leads nowhere: %v", err)
		}
		os.Remove(to)
		os.Rename(free, to)
	}
}

func TestRemove(t *testing.T) {
	var d Disk
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "x")
	for range 2 {
		if err := d.Remove(path); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("it is still there")
	}
	if err := d.SyncDir(filepath.Join(path, "gone")); err == nil {
		t.Error("a directory that is not there was synced")
	}
}

func TestZero(t *testing.T) {
	for _, size := range []int64{0, 1, 4096, 1<<20 - 1, 1 << 20, 5<<20 + 3} {
		f := create(t, nil, filepath.Join(t.TempDir(), "wal"))
		if _, err := f.WriteAt([]byte("what was there before"), 0); err != nil {
			t.Fatal(err)
		}
		if err := f.Zero(size); err != nil {
			t.Fatal(err)
		}
		got := []byte(content(t, f.Name()))
		if int64(len(got)) < size || len(bytes.Trim(got[:size], "\x00")) > 0 {
			t.Errorf("%d bytes: %d are there, not all zero", size, len(got))
		}
	}
	f := create(t, failing(OpSync, 0, syscall.EIO), filepath.Join(t.TempDir(), "wal"))
	if err := f.Zero(100); !errors.Is(err, syscall.EIO) {
		t.Errorf("the sync at the end fails: %v", err)
	}
}

func TestScarce(t *testing.T) {
	for err, want := range map[error][2]bool{
		syscall.ENOSPC: {true, true},
		syscall.EDQUOT: {true, true},
		syscall.EMFILE: {false, true},
		syscall.ENFILE: {false, true},
		syscall.EIO:    {false, false},
		fs.ErrNotExist: {false, false},
	} {
		wrapped := fmt.Errorf("append: %w", &fs.PathError{Op: "write", Path: "all.log", Err: err})
		if IsFull(wrapped) != want[0] || IsScarce(wrapped) != want[1] {
			t.Errorf("%v: full %v, scarce %v, want %v", err, IsFull(wrapped), IsScarce(wrapped), want)
		}
	}
}

// Each directory that is made is durable in the one above it before anything is
// made below; one that is there may have been made by a process that was killed
// before that.
func TestMkdirAll(t *testing.T) {
	dir := t.TempDir()
	var ops []string
	d := &Disk{Fault: func(op Op, path string) (int, error) {
		rel, err := filepath.Rel(dir, path)
		ops = append(ops, fmt.Sprint(op, " ", rel))
		return 0, err
	}}
	for _, want := range []string{
		"[sync .. mkdir a sync . mkdir a/b sync a mkdir a/b/c sync a/b]",
		"[sync a/b]",
	} {
		ops = nil
		if err := d.MkdirAll(filepath.Join(dir, "a", "b", "c"), 0o750); err != nil || fmt.Sprint(ops) != want {
			t.Errorf("%v: %v, want %s", err, ops, want)
		}
	}
	if fi, err := os.Stat(filepath.Join(dir, "a", "b", "c")); err != nil || !fi.IsDir() || fi.Mode().Perm() != 0o750 {
		t.Errorf("%v, %v", fi, err)
	}
	write(t, filepath.Join(dir, "file"), "x")
	for _, path := range []string{"file", "file/below"} {
		if err := d.MkdirAll(filepath.Join(dir, path), 0o750); !errors.Is(err, syscall.ENOTDIR) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := failing(OpSync, 0, syscall.EIO).MkdirAll(filepath.Join(dir, "a"), 0o750); !errors.Is(err, syscall.EIO) {
		t.Errorf("the sync of a directory that was there fails: %v", err)
	}
	if err := failing(OpSync, 0, fs.ErrPermission).MkdirAll(filepath.Join(dir, "a"), 0o750); err != nil {
		t.Errorf("a directory in one that may not be read: %v", err)
	}
}

// TestWrote: what was written is told with its place, also behind what others wrote.
func TestWrote(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	var told []string
	d := &Disk{Wrote: func(p string, off int64, n int) { told = append(told, fmt.Sprint(filepath.Base(p), " ", off, "+", n)) }}
	f, err := d.Open(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.Write([]byte("abc"))
	write(t, path, "abcdef")
	f.Write([]byte("gh"))
	create(t, d, path).WriteAt([]byte("ij"), 1)
	if want := "[file 0+3 file 6+2 file 1+2]"; fmt.Sprint(told) != want {
		t.Errorf("told was %v, want %s", told, want)
	}
}
