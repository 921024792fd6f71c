package disk

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// lock returns ErrLocked when another process has the lock.
func lock(f *os.File) error {
	err := windows.LockFileEx(windows.Handle(f.Fd()),
		windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, new(windows.Overlapped))
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return ErrLocked
	}
	return err
}

// syncDir does nothing: Windows has no such call and orders names itself.
func syncDir(string) error { return nil }

// Inode is not known from a FileInfo on Windows: files are known by content.
func Inode(fs.FileInfo) uint64 { return 0 }

// Device is not known from a FileInfo on Windows.
func Device(fs.FileInfo) uint64 { return 0 }

// Links is taken to be one on Windows.
func Links(fs.FileInfo) uint64 { return 1 }

// InPlace is taken for granted on Windows, where open files cannot be deleted.
func (f *File) InPlace() bool { return true }

// OwnAs does nothing: on Windows a new file has its directory's owner.
func (f *File) OwnAs(fs.FileInfo) error { return nil }

// OpenLimit is how many files this process may have open; Windows sets none below it.
func OpenLimit() int { return 1 << 20 }
