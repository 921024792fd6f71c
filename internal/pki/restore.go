package pki

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// restore writes the authority again, from memory, after its files were deleted.
func (a *Authority) restore() error {
	missing := false
	for _, name := range []string{authorityName, registerName, serverName} {
		_, err := os.Lstat(filepath.Join(a.dir, name))
		missing = missing || errors.Is(err, fs.ErrNotExist)
	}
	if !missing {
		return nil
	}
	if err := a.disk.Mkdir(a.dir, 0o700); err != nil {
		return &notStored{err}
	}
	if err := a.rewrite(); err != nil {
		return &notStored{err}
	}
	a.server.leaf = nil
	return nil
}
