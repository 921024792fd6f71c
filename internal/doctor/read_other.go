//go:build !linux

package doctor

import (
	"errors"
	"io/fs"
)

// ReadClock knows nothing on this system.
func ReadClock() (synchronised bool, maxError int64, err error) {
	return false, 0, errors.ErrUnsupported
}

// FileSystem knows no kinds on this system.
func FileSystem(string) (string, error) { return "", nil }

// Free knows nothing on this system.
func Free(string) (int64, error) { return 0, errors.ErrUnsupported }

// User knows no users on this system.
func User(fs.FileInfo) (int, bool) { return 0, false }

// TryInotify has nothing to try on this system.
func TryInotify() error { return nil }
