//go:build unix

package disk

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// Inode is the number of a file on its device.
func Inode(fi fs.FileInfo) uint64 { return uint64(fi.Sys().(*syscall.Stat_t).Ino) }

// Device is the number of the device a file is on.
func Device(fi fs.FileInfo) uint64 { return uint64(fi.Sys().(*syscall.Stat_t).Dev) }

// Links is how many names a file has; 0 once it was deleted.
func Links(fi fs.FileInfo) uint64 { return uint64(fi.Sys().(*syscall.Stat_t).Nlink) }

// InPlace reports whether f is what is at its name. It costs one system call; Strayed
// says more.
func (f *File) InPlace() bool {
	var st syscall.Stat_t
	if f.inode == 0 {
		if syscall.Fstat(int(f.Fd()), &st) != nil {
			return true
		}
		f.device, f.inode = uint64(st.Dev), uint64(st.Ino)
	}
	err := ignoringEINTR(func() error { return syscall.Stat(f.Name(), &st) })
	return err != nil && err != syscall.ENOENT && err != syscall.ENOTDIR || err == nil &&
		uint64(st.Dev) == f.device && uint64(st.Ino) == f.inode
}

// OwnAs sets the owner and the group of f to those in fi, as far as this process may:
// without root, a process keeps what it creates.
func (f *File) OwnAs(fi fs.FileInfo) error {
	like := fi.Sys().(*syscall.Stat_t)
	err := f.Chown(int(like.Uid), int(like.Gid))
	if errors.Is(err, fs.ErrPermission) {
		err = f.Chown(-1, int(like.Gid))
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// OpenLimit is how many files this process may have open. Go has raised it to what
// the system allows it.
func OpenLimit() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1024
	}
	return int(min(uint64(limit.Cur), 1<<20))
}

func ignoringEINTR(call func() error) error {
	for {
		if err := call(); err != syscall.EINTR {
			return err
		}
	}
}
