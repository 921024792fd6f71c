// Package disktest has a disk that forgets, for the tests of whatever keeps its
// state through internal/disk.
//
// A real power cut leaves of what was not synced whatever the kernel and the disk
// happened to have written: any pages, in any order, sizes before the data, names
// that are gone or still there. Few file systems show all of that, and none does so
// on demand. This disk keeps real files, watches each access to them, and after a
// cut puts into those files what a power cut may have left. What was synced is
// kept exactly: the content of a file by its sync, names by the sync of their
// directory. Files keep their inodes.
//
// It watches directories as they are, so accesses that do not go through
// internal/disk are seen as well, at the next access that does. Directories may be
// made, but not renamed, and not removed for good.
package disktest

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"fanin/internal/disk"
)

// ErrStopped is the error of each access to a disk that has stopped.
var ErrStopped = errors.New("the machine stopped")

// Disk is a disk that forgets. Give Under to what is to be tested, and let it keep
// its files below Dir.
type Disk struct {
	Dir   string
	Under *disk.Disk

	t    testing.TB
	top  string // what Remove removes
	keep string // a hard link for each file, so that no inode is lost with its name

	mu      sync.Mutex
	each    func(op disk.Op, path string)
	count   int64
	stopAt  int64 // 0: never
	part    int
	stopped bool
	failAt  int64 // syncs of files until one fails; 0: none does
	failOf  string
	failed  bool
	dirs    map[string]*names
	files   map[uint64]*content
	buf     []byte
}

// New makes one on a file system in memory, where there is one: there a real sync
// costs nothing. It cannot reserve room. Remove gives it back; so does the end of
// the test.
func New(t testing.TB) *Disk {
	t.Helper()
	top := TempDir(t)
	dir := filepath.Join(top, "disk")
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	d := In(t, dir)
	d.top = top
	return d
}

// TempDir makes a directory on a file system in memory, where there is one.
func TempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "fanin-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// In makes a disk of an empty directory.
func In(t testing.TB, dir string) *Disk {
	t.Helper()
	d := &Disk{t: t, Dir: dir, top: dir + ".kept", keep: dir + ".kept", dirs: map[string]*names{dir: newNames()}, files: make(map[uint64]*content)}
	t.Cleanup(d.Remove)
	if err := os.Mkdir(d.keep, 0o750); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(d.keep); err != nil || disk.Inode(fi) == 0 {
		t.Skipf("files are told apart by their inode, which this system does not tell: %v", err)
	}
	d.Under = &disk.Disk{Fault: d.access, Wrote: d.wrote}
	return d
}

// Remove stops the disk and removes what it made.
func (d *Disk) Remove() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = true
	os.RemoveAll(d.top)
}

// StopAt has the disk stop at the n-th access from now on, of which, if it is a
// write, the first part bytes still get through. 0: never.
func (d *Disk) StopAt(n int64, part int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count, d.stopAt, d.part = 0, n, part
}

// FailSync has the n-th sync from now on fail, of a file whose name begins so. As some kernels do, the disk
// then takes all of that file for written, though it is not: a later sync goes well
// and makes only what was written again since durable.
func (d *Disk) FailSync(n int64, name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failAt, d.failOf, d.failed = n, name, false
}

// Failed reports whether the sync that FailSync chose has failed.
func (d *Disk) Failed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

// Each has f called before each access, outside of all locks: it may wait.
func (d *Disk) Each(f func(op disk.Op, path string)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.each = f
}

// Stop stops the disk now: no access goes well from here on.
func (d *Disk) Stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stop()
}

// Stopped reports whether the disk has stopped.
func (d *Disk) Stopped() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stopped
}

// Accesses is how many there were since StopAt, those that failed included.
func (d *Disk) Accesses() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.count
}

// Kill has the disk go on as after a kill -9: all that was written is there, and
// what was not synced can still be lost by a cut. Nothing may use the disk by then.
func (d *Disk) Kill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lookAtAll()
	d.count, d.stopAt, d.stopped, d.failAt, d.failed = 0, 0, false, 0, false
}

// Cut has the disk go on as after a power cut, with what the seed lets survive of
// what was not synced when it stopped: see Losses. Nothing may use the disk by then.
func (d *Disk) Cut(seed uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stop()
	d.lose(newLoss(seed))
	d.count, d.stopAt, d.stopped, d.failAt, d.failed = 0, 0, false, 0, false
}

// access is asked before each access, as disk.Disk.Fault is.
func (d *Disk) access(op disk.Op, path string) (int, error) {
	d.mu.Lock()
	each := d.each
	d.mu.Unlock()
	if each != nil {
		each(op, path)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count++
	if d.stopped {
		return 0, ErrStopped
	}
	if d.stopAt > 0 && d.count >= d.stopAt {
		d.stop()
		return d.part, ErrStopped
	}
	d.lookAt(filepath.Dir(path))
	switch op {
	case disk.OpWrite, disk.OpFill:
		if f := d.file(path); f != nil {
			f.look(d.read(path))
		}
	case disk.OpGrow:
		return 0, errors.ErrUnsupported // room in memory has to be filled
	case disk.OpSync:
		if names := d.dirs[path]; names != nil {
			d.lookAt(path)
			names.synced()
		} else if f := d.file(path); f != nil {
			f.look(d.read(path))
			if d.fails(path) {
				f.dropped()
				return 0, syscall.EIO
			}
			f.synced()
		}
	}
	return 0, nil
}

// fails reports whether this is the sync that fails.
func (d *Disk) fails(path string) bool {
	if d.failAt == 0 || !strings.HasPrefix(filepath.Base(path), d.failOf) {
		return false
	}
	d.failAt--
	d.failed = d.failAt == 0
	return d.failed
}

// wrote is told of each write that went through.
func (d *Disk) wrote(path string, off int64, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.file(path); f != nil {
		f.wrote(off, n)
	}
}

// stop notes all there is: what happens to the files later is not on the disk.
func (d *Disk) stop() {
	if !d.stopped {
		d.lookAtAll()
		d.stopped = true
	}
}

func (d *Disk) lookAtAll() {
	d.lookAt(d.Dir)
	for dir, names := range d.dirs {
		for name, e := range names.now {
			if f := d.files[e.inode]; f != nil {
				f.look(d.read(filepath.Join(dir, name)))
			}
		}
	}
}

// lookAt notes what has become of the names in a directory, and in those below it
// that are new.
func (d *Disk) lookAt(dir string) {
	known := d.dirs[dir]
	if known == nil {
		if strings.HasPrefix(dir, d.Dir+string(filepath.Separator)) {
			d.lookAt(filepath.Dir(dir)) // where it is found, and looked at
		}
		return
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		d.t.Errorf("a disk that forgets: %v", err)
		return
	}
	now := make(map[string]entry, len(entries))
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		fi, err := e.Info()
		switch {
		case err != nil: // it is gone just now
		case fi.IsDir():
			now[e.Name()] = entry{disk.Inode(fi), true}
		case fi.Mode().IsRegular():
			now[e.Name()] = entry{disk.Inode(fi), false}
			d.hold(path, disk.Inode(fi))
		}
	}
	known.look(now)
	for name, e := range now {
		path := filepath.Join(dir, name)
		if e.dir && d.dirs[path] == nil {
			d.dirs[path] = newNames()
		}
		if e.dir {
			d.lookAt(path)
		}
	}
}

// hold keeps a file's inode for as long as a cut may bring it back.
func (d *Disk) hold(path string, inode uint64) {
	if d.files[inode] != nil {
		return
	}
	d.files[inode] = newContent()
	if err := os.Link(path, d.kept(inode)); err != nil && !errors.Is(err, os.ErrNotExist) {
		d.t.Errorf("a disk that forgets: %v", err)
	}
}

func (d *Disk) kept(inode uint64) string { return filepath.Join(d.keep, strconv.FormatUint(inode, 10)) }

func (d *Disk) file(path string) *content {
	fi, err := os.Lstat(path)
	if err != nil {
		return nil
	}
	return d.files[disk.Inode(fi)]
}

// read reads a file into the disk's own buffer.
func (d *Disk) read(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil
	}
	if int64(cap(d.buf)) < fi.Size() {
		d.buf = make([]byte, fi.Size())
	}
	n, _ := f.ReadAt(d.buf[:fi.Size()], 0)
	return d.buf[:n]
}
