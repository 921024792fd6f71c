package doctor

import (
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ReadClock asks the kernel about the clock, for Clock. It sets nothing.
func ReadClock() (synchronised bool, maxError int64, err error) {
	const unsynchronised = 5 // TIME_ERROR, adjtimex(2)
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return state != unsynchronised && t.Status&unix.STA_UNSYNC == 0, int64(t.Maxerror), err
}

// FileSystem is the kind of the file system that has a path; "" for one that Volatile does not
// know.
func FileSystem(path string) (string, error) {
	st, err := statfs(path)
	return map[int64]string{
		unix.TMPFS_MAGIC: "tmpfs", unix.RAMFS_MAGIC: "ramfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay",
		unix.NFS_SUPER_MAGIC: "nfs", unix.SMB_SUPER_MAGIC: "cifs", unix.CIFS_SUPER_MAGIC: "cifs",
		unix.SMB2_SUPER_MAGIC: "cifs", unix.FUSE_SUPER_MAGIC: "fuse", unix.V9FS_MAGIC: "9p",
		unix.CEPH_SUPER_MAGIC: "ceph",
	}[int64(uint32(st.Type))], err
}

// Free is how many bytes users other than root may still write to the file system of a path.
func Free(path string) (int64, error) {
	st, err := existing(path, statfs)
	return int64(st.Bavail) * int64(st.Bsize), err
}

func statfs(path string) (st unix.Statfs_t, err error) {
	for {
		if err = unix.Statfs(path, &st); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		err = &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	return st, err
}

// User is the number of a file's user.
func User(fi fs.FileInfo) (int, bool) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(st.Uid), true
}

// TryInotify makes one inotify instance and closes it.
func TryInotify() error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err == nil {
		err = unix.Close(fd)
	}
	return err
}
