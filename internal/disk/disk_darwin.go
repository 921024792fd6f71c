package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lock returns ErrLocked when another process has the lock.
func lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}
