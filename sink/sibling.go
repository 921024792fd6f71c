package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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

// IsMissing reports whether a closed file's text is there in neither form.
func (s *Sink) IsMissing(ctx context.Context, g Generation) bool {
	path := filepath.Join(filepath.Dir(s.Path), g.Name)
	if exists(path) {
		return false
	}
	o, err := s.openSibling(ctx, g, fs.ErrNotExist)
	if err == nil {
		o.Close()
	}
	return errors.Is(err, fs.ErrNotExist) && !exists(path) // it may have been packed and unpacked between the looks
}

// openSibling opens the other form of a generation of which the file is missing. If there is none with the
// generation's text, the error is that of the file. A name that another program gave, such as all.log.1, may be that
// of another file by now: then there is none.
func (s *Sink) openSibling(ctx context.Context, g Generation, missing error) (*openGeneration, error) {
	x := g.sibling()
	if x.Name == "" || !isBackup(s.Path, g.Name) {
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
// not ours: gunzip may be at work. done is false if that could not be found out, and is to be tried again.
func (j *janitor) finishArchive(ctx context.Context, g Generation) (done bool, err error) {
	packed := j.file(g.Name)
	plain := strings.TrimSuffix(packed, archive.Suffix)
	fi, err := os.Stat(plain)
	if err != nil || !j.s.isFile(g.Number, disk.Inode(fi)) {
		return true, nil
	}
	switch made, err := j.archived(ctx, plain); {
	case isSystem(err):
		return false, ctx.Err()
	case !made, err != nil, !exists(packed):
		return true, ctx.Err()
	}
	return true, j.s.Disk.Remove(plain)
}

// takeSiblings takes up what other processes packed, unpacked and renamed.
func (j *janitor) takeSiblings(ctx context.Context) error {
	var errs []error
	for _, g := range j.closed() {
		if isBackup(j.s.Path, g.Name) {
			errs = append(errs, j.takeSibling(ctx, g))
		} else {
			errs = append(errs, j.takeName(ctx, g))
		}
	}
	return errors.Join(errs...)
}

// takeName has the catalog name a file as another program calls it now. One that rotates the log as logrotate does
// renames what it has rotated before, too, and another file gets that name.
func (j *janitor) takeName(ctx context.Context, g Generation) error {
	if j.holds(g) {
		return nil
	}
	name, err := j.s.nameNow(g)
	if err != nil {
		return err
	}
	if name == "" && !j.unseen[g.Number] {
		j.unseen[g.Number] = true // a directory that is listed while files are renamed may lack one
		return nil
	}
	delete(j.unseen, g.Number)
	if name == "" {
		return j.change(ctx, g.Number, func(_ *catalog, g *generation) { g.state, g.name = stateLost, "" })
	}
	j.s.Log.Info("another process renamed a file of the log", "file", g.Name, "now", name)
	return j.change(ctx, g.Number, func(_ *catalog, g *generation) { g.name = name })
}

// nameNow returns the name of a file that another program rotated, and has renamed since; "" if it is not there. It
// has the inode and the size of the generation: the inode alone may be another file's by now.
func (s *Sink) nameNow(g Generation) (string, error) {
	inode, ok := s.inodeOf(g.Number)
	if !ok {
		return "", nil
	}
	dir := filepath.Dir(s.Path)
	name, err := findInode(dir, inode)
	if err != nil || name == "" {
		return "", err
	}
	fi, err := os.Stat(filepath.Join(dir, name))
	if err != nil || fi.Size() != g.Size || disk.Inode(fi) != inode {
		return "", nil
	}
	return name, nil
}

// holds reports whether the name of a generation is that of its file. Names that the log gave are, and those of
// archives count as such.
func (j *janitor) holds(g Generation) bool {
	if isBackup(j.s.Path, g.Name) || strings.HasSuffix(g.Name, archive.Suffix) {
		return true
	}
	fi, err := os.Stat(j.file(g.Name))
	return err == nil && j.s.isFile(g.Number, disk.Inode(fi))
}

// form returns what Stat says of a file, in whichever form it is there.
func (j *janitor) form(g Generation) (fs.FileInfo, error) {
	if g.State != stateLive && !j.holds(g) {
		return nil, fs.ErrNotExist
	}
	fi, err := os.Stat(j.file(g.Name))
	if x := g.sibling(); errors.Is(err, fs.ErrNotExist) && x.Name != "" && isBackup(j.s.Path, g.Name) {
		return os.Stat(j.file(x.Name))
	}
	return fi, err
}

// removeSibling removes the other form of a file that is about to be removed, if that is there as well, or in its
// place: a later start would find it as a file that no generation names. What does not hold the same text, or the
// beginning of it, is not ours.
func (j *janitor) removeSibling(ctx context.Context, g Generation) error {
	if g.State = statePlain; strings.HasSuffix(g.Name, archive.Suffix) {
		g.State = stateGzip
	}
	other := g.sibling()
	if !isBackup(j.s.Path, g.Name) || !exists(j.file(other.Name)) {
		return nil
	}
	o, err := j.s.openText(ctx, other)
	if err != nil {
		return ctx.Err()
	}
	defer o.Close()
	ours := o.size >= g.Size
	if own, err := j.s.openText(ctx, g); err == nil {
		ours = sameBeginning(ctx, own, o)
		own.Close()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return ctx.Err()
	}
	if !ours {
		return ctx.Err()
	}
	return j.s.Disk.Remove(j.file(other.Name))
}

// sameBeginning reports whether the shorter of two texts is the beginning of the longer.
func sameBeginning(ctx context.Context, x, y *openGeneration) bool {
	a, b := make([]byte, 256<<10), make([]byte, 256<<10)
	for at, end := int64(0), min(x.size, y.size); at < end && ctx.Err() == nil; at += int64(len(a)) {
		n := min(int64(len(a)), end-at)
		_, xerr := x.text.ReadAt(a[:n], at)
		_, yerr := y.text.ReadAt(b[:n], at)
		if xerr != nil && xerr != io.EOF || yerr != nil && yerr != io.EOF || !bytes.Equal(a[:n], b[:n]) {
			return false
		}
	}
	return ctx.Err() == nil
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
