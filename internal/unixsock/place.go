package unixsock

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
)

// Place is the file of a socket that this process made. The zero value is none.
type Place struct {
	path  string
	inode os.FileInfo
}

// Make makes the file of a socket, which bind binds to path. A socket that is left of a process
// that is gone is replaced; anything else at path is not touched.
func Make(path string, mode fs.FileMode, bind func() error) (Place, error) {
	if err := removeStale(path); err != nil {
		return Place{}, err
	}
	if err := bind(); err != nil {
		return Place{}, fmt.Errorf("listen on the socket %s: %w", path, err)
	}
	err := os.Chmod(path, mode)
	var inode os.FileInfo
	if err == nil {
		inode, err = os.Lstat(path)
	}
	if err != nil {
		return Place{}, fmt.Errorf("make the socket %s: %w", path, err)
	}
	return Place{path, inode}, nil
}

// PlaceOf returns the place of a socket that this process has made at path; none, if nothing is
// there.
func PlaceOf(path string) Place {
	inode, err := os.Lstat(path)
	if err != nil {
		return Place{}
	}
	return Place{path, inode}
}

// Ours reports whether the file is there, and is still the one that was made.
func (p Place) Ours() bool {
	if p.inode == nil {
		return false
	}
	fi, err := os.Lstat(p.path)
	return err == nil && os.SameFile(fi, p.inode)
}

// SetMode sets the permissions of the file, if it is still the one that was made.
func (p Place) SetMode(mode fs.FileMode) error {
	if !p.Ours() {
		return nil
	}
	return os.Chmod(p.path, mode)
}

// Remove removes the file, unless it is another socket's by now.
func (p Place) Remove() {
	if p.Ours() {
		os.Remove(p.path)
	}
}

// Free reports why no socket can be made at path: a process listens on one there, or it is
// something else. It changes nothing.
func Free(path string) error {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case fi.Mode()&fs.ModeSocket == 0:
		return fmt.Errorf("%s exists and is no socket: remove it, or set another path", path)
	}
	for _, network := range []string{"unix", "unixgram"} {
		conn, err := net.Dial(network, path)
		switch {
		case err == nil:
			conn.Close()
			return fmt.Errorf("another process listens on the socket %s: stop it, or set another path", path)
		case errors.Is(err, syscall.EPROTOTYPE): // it is of the other type
		case !errors.Is(err, syscall.ECONNREFUSED):
			return fmt.Errorf("find out whether a process listens on %s: %w", path, err)
		}
	}
	return nil
}

// removeStale removes a socket to which no process listens.
func removeStale(path string) error {
	if err := Free(path); err != nil {
		return err
	}
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
