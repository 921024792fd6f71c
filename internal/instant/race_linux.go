//go:build race

package instant

import "syscall"

// Read reads from a descriptor that does not wait.
func Read(fd uintptr, p []byte) (n int, errno syscall.Errno) {
	n, err := syscall.Read(int(fd), p)
	errno, _ = err.(syscall.Errno)
	return n, errno
}
