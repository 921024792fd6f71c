package sink

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"fanin/internal/disk"
	"fanin/sink/archive"
)

// Another process may pack a rotated file, or unpack one, as gzip and gunzip do: these remove the one form when all
// of the other one is there. The text is the generation's as before.

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

// openSibling opens the other form of a generation of which the file is missing. If there is none with a text as long
// as the generation's, the error is that of the file.
func (s *Sink) openSibling(ctx context.Context, g Generation, missing error) (*openGeneration, error) {
	x := g.sibling()
	if x.Name == "" {
		return nil, missing
	}
	o, err := s.openText(ctx, x)
	if err == nil && o.size != g.Size {
		o.Close()
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, missing
	}
	return o, nil
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

// finishArchive removes the plain file beside the archive that the catalog has in its place: a pass that was not
// done, or another process, left it. It does so only if the archive holds the same.
func (j *janitor) finishArchive(ctx context.Context, g Generation) error {
	packed := j.file(g.Name)
	plain := strings.TrimSuffix(packed, archive.Suffix)
	if !exists(plain) {
		return nil
	}
	if made, err := j.archived(ctx, plain); !made || err != nil {
		return ctx.Err() // it is being unpacked, or it is another file: it is not ours
	}
	if !exists(packed) {
		return nil // what unpacks it has just removed it
	}
	return j.s.Disk.Remove(plain)
}

// takeSibling has the catalog name the form that the file of a generation has, if another process changed that.
func (j *janitor) takeSibling(ctx context.Context, g Generation) error {
	if exists(j.file(g.Name)) {
		return nil
	}
	o, err := j.s.openSibling(ctx, g, fs.ErrNotExist)
	if err != nil {
		return ctx.Err() // it is not there: whatever reads it says so
	}
	o.Close()
	x := g.sibling()
	fi, err := os.Stat(j.file(x.Name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the next pass looks again
	} else if err != nil {
		return err
	}
	j.s.Log.Warn("another process packed or unpacked a file of the log; its text is there as before", "file", g.Name,
		"now", x.Name)
	return j.change(ctx, g.Number, func(_ *catalog, g *generation) {
		g.state, g.name, g.inode = x.State, x.Name, disk.Inode(fi)
	})
}
