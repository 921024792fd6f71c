//go:build unix

package disk

import (
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

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
