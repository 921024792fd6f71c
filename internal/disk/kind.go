package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// KindError reports that what is at a path cannot be used as a file, or as a directory.
// Nothing was done to it.
type KindError struct {
	Path, Is, Want string
}

// Error describes what is at the path, and what should be.
func (e *KindError) Error() string {
	return fmt.Sprintf("%s is %s; it must be %s", e.Path, e.Is, e.Want)
}

const wantFile, wantDir = "a regular file", "a directory"

// Regular refuses what is at path unless it is a regular file, a link to one, or
// nothing at all. It only looks: opening a pipe would wait for its other side, and
// opening a device may already do something.
func Regular(path string) error {
	fi, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return dangling(path, wantFile)
	}
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return &KindError{path, kind(fi.Mode()), wantFile}
	}
	return nil
}

// Directory refuses what is at path unless it is a directory, a link to one, or
// nothing at all.
func Directory(path string) error {
	fi, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return dangling(path, wantDir)
	}
	if err != nil {
		return err
	}
	if !fi.IsDir() {
		return &KindError{path, kind(fi.Mode()), wantDir}
	}
	return nil
}

// dangling refuses a link at path that leads nowhere.
func dangling(path, want string) error {
	if to, err := os.Readlink(path); err == nil {
		return &KindError{path, "a link to " + to + ", which is not there", want}
	}
	return nil
}

func kind(m fs.FileMode) string {
	switch {
	case m.IsRegular():
		return "a file"
	case m.IsDir():
		return "a directory"
	case m&fs.ModeNamedPipe != 0:
		return "a named pipe (FIFO)"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "no file"
}

// maxLinks is how many links may lead from one to the next.
const maxLinks = 40

// Target is the name of the file that path stands for: what it leads to if it is
// a symbolic link, whether or not that is there, else path itself.
func Target(path string) (string, error) {
	for range maxLinks {
		fi, err := os.Lstat(path)
		if err != nil || fi.Mode()&fs.ModeSymlink == 0 {
			return path, nil
		}
		to, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(to) {
			to = filepath.Dir(path) + string(filepath.Separator) + to // not cleaned: ".." counts from where links lead
		}
		dir, base := filepath.Split(to)
		if dir, err = filepath.EvalSymlinks(dir); err != nil {
			return "", &KindError{path, "a link to " + to + ", which is not there", wantFile}
		}
		path = filepath.Join(dir, base)
	}
	return "", fmt.Errorf("%s: more than %d links lead from one to the next", path, maxLinks)
}

// Usable reports why files cannot be made in dir, or in the nearest directory
// above it that exists. It leaves nothing behind.
func Usable(dir string) error {
	for at := dir; ; at = filepath.Dir(at) {
		if err := Directory(at); err != nil {
			return err
		}
		f, err := os.CreateTemp(at, ".fanin-check-")
		if errors.Is(err, fs.ErrNotExist) && filepath.Dir(at) != at {
			continue
		}
		if err != nil {
			return fmt.Errorf("directory %s: %w", dir, err)
		}
		f.Close()
		return os.Remove(f.Name())
	}
}

// ReadFile reads a file that others may have put there: never from a pipe or a
// device, which might not end.
func ReadFile(path string) ([]byte, error) {
	if err := Regular(path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}
