package depot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"fanin/internal/disk"
)

// directory is a store in a directory, such as a mounted file system. It is not made: what is to be
// mounted there may not be mounted yet.
type directory struct {
	path string
	disk *disk.Disk
}

const (
	dirMode    = 0o750
	objectMode = 0o640
	tempSuffix = ".new"
)

func (d *directory) file(name string) string { return filepath.Join(d.path, filepath.FromSlash(name)) }

func (d *directory) stat(_ context.Context, name string) (int64, error) {
	fi, err := os.Stat(d.file(name))
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

func (d *directory) get(_ context.Context, name string) (io.ReadCloser, error) {
	return d.disk.Open(d.file(name), os.O_RDONLY, 0)
}

func (d *directory) put(ctx context.Context, name string, c content) error {
	if err := d.there(); err != nil {
		return err
	}
	path := d.file(name)
	if err := d.disk.Mkdir(filepath.Dir(path), dirMode); err != nil {
		return err
	}
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+tempSuffix)
	rename := d.disk.Rename
	if c.fresh {
		rename = d.disk.RenameNew
	}
	err := d.write(ctx, temp, c)
	if err == nil {
		err = rename(temp, path)
	}
	if err != nil {
		return errors.Join(err, d.disk.Remove(temp))
	}
	return nil
}

// there reports that the directory is missing.
func (d *directory) there() error {
	if fi, err := os.Stat(d.path); err != nil {
		return fmt.Errorf("%w: mount the file system, or make the directory", err)
	} else if !fi.IsDir() {
		return fmt.Errorf("%s is not a directory", d.path)
	}
	return nil
}

// write writes a file, durably.
func (d *directory) write(ctx context.Context, path string, c content) error {
	f, err := d.disk.Open(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, objectMode)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, blockSize)
	for {
		n, err := c.Read(buf)
		if _, failed := f.Write(buf[:n]); failed != nil {
			return failed
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

func (d *directory) list(ctx context.Context, below string, each func(name string)) error {
	if err := d.there(); err != nil {
		return err
	}
	root := d.file(below)
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && path == root:
			return nil // nothing is below
		case errors.Is(err, fs.ErrPermission) && path != root && e.IsDir() && !isLog(e.Name()):
			return fs.SkipDir // it is of others, such as lost+found
		case err == nil:
			err = ctx.Err()
		}
		if err != nil || e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			return err
		}
		name, err := filepath.Rel(d.path, path)
		each(filepath.ToSlash(name))
		return err
	})
}
