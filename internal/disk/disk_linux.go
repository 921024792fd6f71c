package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func datasync(f *os.File) error {
	return ignoringEINTR(func() error { return unix.Fdatasync(int(f.Fd())) })
}

func reserve(f *os.File, from, end int64) error {
	if end <= from {
		return nil
	}
	err := ignoringEINTR(func() error {
		return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, from, end-from)
	})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return errors.ErrUnsupported
	}
	return err
}

// lock returns ErrLocked when another process has the lock.
func lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return renameLooking(from, to)
	}
	return err
}

// Handle is the file system's own name for an open file: unlike the inode
// number it is not given again after the file was deleted. Where a file system
// has none (overlayfs), it is empty.
func Handle(f *os.File) []byte {
	h, mount, err := unix.NameToHandleAt(int(f.Fd()), "", unix.AT_EMPTY_PATH)
	if err != nil {
		return nil
	}
	_ = mount // changes with every mount: no part of an identity
	return append([]byte{byte(h.Type())}, h.Bytes()...)
}

// NextData is where the first bytes at or behind offset are that were ever
// written; those before are a hole. Where the file system does not tell, it is
// offset itself.
func NextData(f *os.File, offset int64) int64 {
	at, err := unix.Seek(int(f.Fd()), offset, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) { // nothing but a hole
		if fi, err := f.Stat(); err == nil {
			return max(offset, fi.Size())
		}
	}
	if err != nil {
		return offset
	}
	return at
}
