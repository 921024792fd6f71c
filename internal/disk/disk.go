// Package disk is the only place that opens files for writing, syncs and
// renames: what is durable when is decided by reading its callers alone, and a
// test can make any of it fail.
package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Op is a kind of access to the disk, as Disk.Fault gets it.
type Op string

// The kinds of access.
const (
	OpOpen   Op = "open"
	OpRead   Op = "read"
	OpWrite  Op = "write"
	OpSync   Op = "sync"
	OpRename Op = "rename"
	OpRemove Op = "remove"
	OpGrow   Op = "grow" // reserving room
	OpFill   Op = "fill" // with zeros
	OpMkdir  Op = "mkdir"
)

// Disk is the operating system's files. The zero value is the real thing.
type Disk struct {
	// Fault, when set, is asked before each access and may make it fail. For a
	// write it may let the first n bytes through. Tests only.
	Fault func(op Op, path string) (n int, err error)

	// Wrote, when set, is called after n bytes were written at off. Tests only.
	Wrote func(path string, off int64, n int)
}

func (d *Disk) fault(op Op, path string) (int, error) {
	if d == nil || d.Fault == nil {
		return 0, nil
	}
	return d.Fault(op, path)
}

// File is an open file that knows its disk.
type File struct {
	*os.File
	disk *Disk

	device, inode uint64 // once InPlace asked
	around        around
}

// Open opens a regular file as os.OpenFile does. Anything else at path is refused
// without being opened: see Regular.
func (d *Disk) Open(path string, flag int, mode fs.FileMode) (*File, error) {
	if _, err := d.fault(OpOpen, path); err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	if err := Regular(path); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, flag|syscall.O_CLOEXEC, mode)
	if err != nil {
		return nil, err
	}
	return &File{File: f, disk: d}, nil
}

// Write writes p at the file's position, or its end when opened O_APPEND.
func (f *File) Write(p []byte) (n int, err error) {
	if part, err := f.disk.fault(OpWrite, f.Name()); err != nil {
		n, _ = f.File.Write(p[:min(part, len(p))])
		return n, &fs.PathError{Op: "write", Path: f.Name(), Err: err}
	}
	n, err = f.File.Write(p)
	if f.disk != nil && f.disk.Wrote != nil {
		end, _ := f.File.Seek(0, io.SeekCurrent)
		f.disk.Wrote(f.Name(), end-int64(n), n)
	}
	return n, err
}

// WriteAt writes p at off; the file must not be opened O_APPEND.
func (f *File) WriteAt(p []byte, off int64) (int, error) { return f.writeAt(f.File.WriteAt, p, off) }

// WriteAround is WriteAt for much that is not read soon: where the system can, whole pages go to the
// disk without a copy in its cache, once they are synced. That takes a third of the time. It needs p
// to be where in memory it is in the file, within a page; a large slice begins with a page.
func (f *File) WriteAround(p []byte, off int64) (int, error) { return f.writeAt(f.writeAround, p, off) }

func (f *File) writeAt(write func([]byte, int64) (int, error), p []byte, off int64) (n int, err error) {
	if part, err := f.disk.fault(OpWrite, f.Name()); err != nil {
		n, _ = f.File.WriteAt(p[:min(part, len(p))], off)
		return n, &fs.PathError{Op: "write", Path: f.Name(), Err: err}
	}
	n, err = write(p, off)
	if f.disk != nil && f.disk.Wrote != nil {
		f.disk.Wrote(f.Name(), off, n)
	}
	return n, err
}

// ReadAt reads len(p) bytes at off.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if _, err := f.disk.fault(OpRead, f.Name()); err != nil {
		return 0, &fs.PathError{Op: "read", Path: f.Name(), Err: err}
	}
	return f.File.ReadAt(p, off)
}

// Sync makes what was written durable, and as much of the metadata as reading
// it back takes (fdatasync where there is one). After an error the pages may be
// marked clean without having reached the disk: do not sync again, rewrite.
func (f *File) Sync() error {
	if _, err := f.disk.fault(OpSync, f.Name()); err != nil {
		return &fs.PathError{Op: "sync", Path: f.Name(), Err: err}
	}
	if err := datasync(f.File); err != nil {
		return &fs.PathError{Op: "sync", Path: f.Name(), Err: err}
	}
	return nil
}

// Sync makes what other processes wrote to f durable: all that a source needs.
func Sync(f *os.File) error {
	if err := datasync(f); err != nil {
		return &fs.PathError{Op: "sync", Path: f.Name(), Err: err}
	}
	return nil
}

// Reserve finds room for the file up to end without changing its size, where
// the file system can. The error is ENOSPC if there is none.
func (f *File) Reserve(from, end int64) error {
	_, err := f.disk.fault(OpGrow, f.Name())
	if err == nil {
		err = reserve(f.File, from, end)
	}
	if err == nil || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return &fs.PathError{Op: "reserve room in", Path: f.Name(), Err: err}
}

// SyncDir makes the names in a directory durable.
func (d *Disk) SyncDir(path string) error {
	if _, err := d.fault(OpSync, path); err != nil {
		return &fs.PathError{Op: "sync", Path: path, Err: err}
	}
	return syncDir(path)
}

// HaveMode sets exactly this mode, whatever the umask was when the file was created.
func (f *File) HaveMode(mode fs.FileMode) error {
	fi, err := f.Stat()
	if err != nil || fi.Mode().Perm() == mode.Perm() {
		return err
	}
	return f.Chmod(mode)
}

// Strayed returns why f is no longer the file at its name, "" when it is. A file that
// cannot be reached for another reason has not strayed.
func (f *File) Strayed() string {
	own, err := f.Stat()
	if err != nil {
		return ""
	}
	there, err := os.Stat(f.Name())
	switch {
	case errors.Is(err, fs.ErrNotExist) && Links(own) == 0:
		return "deleted"
	case errors.Is(err, fs.ErrNotExist):
		return "moved away"
	case err == nil && !os.SameFile(own, there):
		return "replaced"
	}
	return ""
}

// MkdirAll makes a directory and those above it that are missing, each with exactly
// this mode, whatever the umask is, and makes their names durable: what is synced
// in a directory is of no use when the directory itself is not found again. One that
// is there already may have been made by a process that was killed before its name
// was durable.
func (d *Disk) MkdirAll(path string, mode fs.FileMode) error {
	parent := filepath.Dir(path)
	fi, err := os.Stat(path)
	if err == nil && !fi.IsDir() {
		return &fs.PathError{Op: "mkdir", Path: path, Err: syscall.ENOTDIR}
	}
	if err == nil {
		above, err := os.Stat(parent)
		if err != nil || Device(above) != Device(fi) {
			return nil // a mount: its name is not on a disk
		}
		if err := d.SyncDir(parent); !errors.Is(err, fs.ErrPermission) {
			return err
		}
		return nil // this process could not have made it
	}
	if parent != path {
		if err := d.MkdirAll(parent, mode); err != nil {
			return err
		}
	}
	return d.Mkdir(path, mode)
}

// Mkdir makes one directory with exactly this mode, unless it is there, and makes its
// name durable.
func (d *Disk) Mkdir(path string, mode fs.FileMode) error {
	if _, err := d.fault(OpMkdir, path); err != nil {
		return &fs.PathError{Op: "mkdir", Path: path, Err: err}
	}
	if err := os.Mkdir(path, mode); err == nil {
		if err := os.Chmod(path, mode); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrExist) { // else another process was quicker
		return err
	}
	return d.SyncDir(filepath.Dir(path))
}

// Rename renames a file within a directory, replacing, and makes it durable.
func (d *Disk) Rename(from, to string) error {
	if _, err := d.fault(OpRename, to); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return d.SyncDir(filepath.Dir(to))
}

// RenameNew renames a file within a directory to a name that must be free, and
// makes it durable. fs.ErrExist: it is not free.
func (d *Disk) RenameNew(from, to string) error {
	if _, err := d.fault(OpRename, to); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	if err := renameNew(from, to); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return d.SyncDir(filepath.Dir(to))
}

// renameLooking is for file systems that cannot do both in one step.
func renameLooking(from, to string) error {
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return fs.ErrExist
	}
	return os.Rename(from, to)
}

// Remove removes a file; that it is gone is made durable. A file that is not
// there is no error.
func (d *Disk) Remove(path string) error {
	if _, err := d.fault(OpRemove, path); err != nil {
		return &fs.PathError{Op: "remove", Path: path, Err: err}
	}
	if err := os.Remove(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return d.SyncDir(filepath.Dir(path))
}

// WriteFile replaces path by data so that, after a crash at any moment, path
// holds either all of the old or all of the new.
func (d *Disk) WriteFile(path string, data []byte, mode fs.FileMode) error {
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	f, err := d.Open(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	return d.Rename(tmp, path)
}

// Zero makes the file size bytes of written zeros: later writes into it change
// no metadata, so syncing them is one trip to the disk, and need no new room.
func (f *File) Zero(size int64) error {
	if _, err := f.disk.fault(OpFill, f.Name()); err != nil {
		return &fs.PathError{Op: "fill", Path: f.Name(), Err: err}
	}
	block := make([]byte, 1<<20)
	for at := int64(0); at < size; at += int64(len(block)) {
		if _, err := f.File.WriteAt(block[:min(int64(len(block)), size-at)], at); err != nil {
			return fmt.Errorf("fill %s with %d bytes: %w", f.Name(), size, err)
		}
	}
	return f.Sync()
}

// Lock takes an exclusive lock on path, creating it, for as long as the
// returned file stays open. ErrLocked: another process has it.
func (d *Disk) Lock(path string) (*File, error) {
	f, err := d.Open(path, os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, err
	}
	if err := lockPatiently(f.File); err != nil {
		defer f.Close()
		return nil, lockError(f.File, err)
	}
	f.Truncate(0)
	fmt.Fprintf(f.File, "%d", os.Getpid())
	return f, nil
}

// lockPatiently tries for a fifth of a second: Locked has the lock for a moment while it asks, and a check beside
// a start must not stop the start.
func lockPatiently(f *os.File) (err error) {
	for range 10 {
		if err = lock(f); !errors.Is(err, ErrLocked) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

// LockFile takes the lock on an open file itself, whatever its name is, until it is
// closed. ErrLocked: another process has it. Where locks keep others from reading, as
// on Windows, it does nothing.
func (f *File) LockFile() error {
	if runtime.GOOS == "windows" {
		return nil
	}
	if err := lock(f.File); err != nil {
		return fmt.Errorf("%w: %s", err, f.Name())
	}
	return nil
}

// Locked returns an error that names the process which holds the lock on path, if
// another one does. It creates nothing.
func Locked(path string) error {
	if Regular(path) != nil {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil // there is none, or whether there is one shows at the start
	}
	defer f.Close()
	if err := lock(f); err != nil {
		return lockError(f, err)
	}
	return nil
}

// lockError describes why f cannot be locked, and which process has the lock.
func lockError(f *os.File, err error) error {
	if !errors.Is(err, ErrLocked) {
		return &fs.PathError{Op: "lock", Path: f.Name(), Err: err}
	}
	holder := make([]byte, 32)
	n, _ := f.ReadAt(holder, 0)
	process, _, _ := strings.Cut(string(holder[:n]), "\n")
	return fmt.Errorf("%w: %s (process %s)", ErrLocked, f.Name(), process)
}

// ErrLocked is the error when another process holds a lock.
var ErrLocked = errors.New("in use by another process")

// IsFull reports whether err means that a file system has no room.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// IsScarce reports whether err means that a resource ran out which may return: room or
// descriptors.
func IsScarce(err error) bool {
	return IsFull(err) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}
