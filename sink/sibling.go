package sink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"fanin/internal/disk"
	"fanin/sink/archive"
)

// Another process may pack a rotated file, or unpack one. gzip and gunzip write the new file whole, and only then
// remove the old one. The text is the generation's as before.

// sibling is a generation as it is in the other form, under the other name.
func (g Generation) sibling() Generation {
	plain, packed := strings.CutSuffix(g.Name, archive.Suffix)
	switch {
	case g.State == stateGzip && packed:
		g.Name, g.State = plain, statePlain
	case g.State == statePlain:
		g.Name, g.State = g.Name+archive.Suffix, stateGzip
	default:
		g.Name = ""
	}
	return g
}

// IsMissing reports whether a closed file is there in neither form.
func (s *Sink) IsMissing(g Generation) bool {
	dir, x := filepath.Dir(s.Path), g.sibling()
	return !exists(filepath.Join(dir, g.Name)) && (x.Name == "" || !exists(filepath.Join(dir, x.Name)))
}

// openSibling opens the other form of a generation of which the file is missing. If there is none with the
// generation's text, the error is that of the file.
func (s *Sink) openSibling(ctx context.Context, g Generation, missing error) (*openGeneration, error) {
	x := g.sibling()
	if x.Name == "" {
		return nil, missing
	}
	o, err := s.openText(ctx, x)
	switch {
	case err == nil && o.size >= g.Size: // a process that had it open may have appended after the rotation
		return o, nil
	case err == nil:
		o.Close()
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case isSystem(err) && !errors.Is(err, fs.ErrNotExist): // it may be there, and cannot be read as things are
		return nil, err
	}
	return nil, missing
}

// isSystem reports whether an error is one of the system, and not of what a file holds.
func isSystem(err error) bool {
	var errno syscall.Errno
	return errors.As(err, &errno)
}

// openText opens a generation's file.
func (s *Sink) openText(ctx context.Context, g Generation) (*openGeneration, error) {
	path := filepath.Join(filepath.Dir(s.Path), g.Name)
	if g.State == stateGzip {
		a, err := archive.Open(ctx, s.Disk, path)
		if err != nil {
			return nil, err
		}
		return &openGeneration{number: g.Number, text: a, size: a.Size(), Closer: a}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &openGeneration{g.Number, f, fi.Size(), disk.Inode(fi), f}, nil
}

// finishArchive removes the plain file beside the archive that the catalog has in its place, if it is the one of
// which the archive was made, and holds the same: then a process was killed before it removed that. Another one is
// not ours: gunzip may be at work.
func (j *janitor) finishArchive(ctx context.Context, g Generation) error {
	packed := j.file(g.Name)
	plain := strings.TrimSuffix(packed, archive.Suffix)
	fi, err := os.Stat(plain)
	if err != nil || !j.s.isFile(g.Number, disk.Inode(fi)) {
		return j.takeSibling(ctx, g)
	}
	if made, err := j.archived(ctx, plain); !made || err != nil || !exists(packed) {
		return ctx.Err()
	}
	return j.s.Disk.Remove(plain)
}

// takeSibling has the catalog name the form that the file of a generation has, if another process changed that.
func (j *janitor) takeSibling(ctx context.Context, g Generation) error {
	if exists(j.file(g.Name)) {
		return nil
	}
	o, err := j.s.openSibling(ctx, g, fs.ErrNotExist)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // whatever reads it says so
	} else if err != nil {
		return fmt.Errorf("open the other form of %s: %w", g.Name, err)
	}
	inode := o.inode
	o.Close()
	x := g.sibling()
	if err := j.makeDurable(j.file(x.Name)); err != nil {
		return err
	}
	j.s.Log.Warn("another process packed or unpacked a file of the log; its text is there as before", "file", g.Name,
		"now", x.Name)
	return j.change(ctx, g.Number, func(_ *catalog, g *generation) {
		if g.state, g.name = x.State, x.Name; inode != 0 {
			g.inode = inode // an archive has that of its file
		}
	})
}

// makeDurable syncs a file that another process wrote: the catalog names only what a power cut leaves.
func (j *janitor) makeDurable(path string) error {
	f, err := j.s.Disk.Open(path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return err
	}
	return j.s.Disk.SyncDir(filepath.Dir(path))
}
