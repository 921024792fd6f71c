// Package depot keeps copies of the closed files of a log in another place: a directory, or a bucket
// of an S3-compatible server. What is there can be verified and read without the collector's disk, and
// nothing of it is needed to begin a log.
//
//	Copier.Run -- pass               one closed file after the other, the oldest first
//	                |
//	              copying.describe   reads the local file, and holds it against its ledger
//	                |
//	              copying.file       the compressed file, then its ledger; each is read back
//	                |
//	              copying.manifest   the last object: with it the file counts
package depot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"fanin/sink"
)

// Depot reads the copies in a place, of all logs that are there.
type Depot struct {
	place Place
	store store
}

// Open returns the depot at a place. It connects to nothing yet.
func Open(p Place) (*Depot, error) {
	s, err := p.open(nil)
	if err != nil {
		return nil, err
	}
	return &Depot{place: p, store: s}, nil
}

// String is the place.
func (d *Depot) String() string { return d.place.String() }

// entry is a file of a log in a depot. One without a manifest, or with a damaged one, has an error.
type entry struct {
	log  string
	stem string
	Manifest
	err error
}

// errNoManifest is of a copy that was not completed: the file does not count.
var errNoManifest = errors.New("has no manifest: its copy was not completed")

// entries lists what is there, by log and generation: of one log, or with "" of all.
func (d *Depot) entries(ctx context.Context, of string) (all []entry, err error) {
	found := make(map[string]bool) // whether there is a manifest, by log/stem
	err = d.store.list(ctx, of, func(name string) {
		base, suffix := cutSuffix(name)
		if log, stem, ok := strings.Cut(base, "/"); ok && isStem(stem) && isLog(log) {
			found[base] = found[base] || suffix == manifestSuffix
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", d.place, err)
	}
	for base, manifest := range found {
		e := entry{err: errNoManifest}
		if manifest {
			e.Manifest, e.err = readManifest(ctx, d.store, base)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		e.log, e.stem, _ = strings.Cut(base, "/")
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b entry) int {
		return cmp.Or(strings.Compare(a.log, b.log), compareStems(a.stem, b.stem))
	})
	return all, nil
}

// Files lists the files that count, by log and generation. A damaged manifest is an error.
func (d *Depot) Files(ctx context.Context) (list []Manifest, err error) { return d.files(ctx, "") }

// Log lists the files of one log that count, by generation.
func (d *Depot) Log(ctx context.Context, id string) (list Log, err error) { return d.files(ctx, id) }

func (d *Depot) files(ctx context.Context, of string) (list []Manifest, err error) {
	all, err := d.entries(ctx, of)
	if err != nil {
		return nil, err
	}
	for _, e := range all {
		if errors.Is(e.err, errNoManifest) {
			continue
		}
		if e.err != nil {
			return nil, fmt.Errorf("%s/%s: %w", e.log, e.stem, e.err)
		}
		list = append(list, e.Manifest)
	}
	return list, nil
}

// Text reads the text of a file from its beginning, decompressed. Its Close reads the rest, and fails
// if the file is not what was copied.
func (d *Depot) Text(ctx context.Context, m Manifest) (io.ReadCloser, error) {
	raw, err := d.object(ctx, m.Log, m.File)
	if err != nil {
		return nil, err
	}
	return unpack(raw, m.File.Name)
}

// Ledger is a copy of the ledger of a file, which is gone when it is closed. fs.ErrNotExist: there is none.
func (d *Depot) Ledger(ctx context.Context, m Manifest) (f *os.File, err error) {
	if m.Ledger == (Object{}) {
		return nil, fs.ErrNotExist
	}
	r, err := d.object(ctx, m.Log, m.Ledger)
	if err != nil {
		return nil, err
	}
	if f, err = os.CreateTemp("", "fanin-ledger-"); err != nil {
		r.Close()
		return nil, err
	}
	os.Remove(f.Name())
	_, err = io.Copy(f, r)
	if err = errors.Join(err, r.Close()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// object reads an object whose content is known.
func (d *Depot) object(ctx context.Context, log string, o Object) (*checked, error) {
	r, err := d.store.get(ctx, log+"/"+o.Name)
	if err != nil {
		return nil, err
	}
	return newChecked(r, o), nil
}

// Verify holds the files of each log against their ledgers.
func (d *Depot) Verify(ctx context.Context) (reports []sink.Report, err error) {
	all, err := d.entries(ctx, "")
	if err != nil {
		return nil, err
	}
	for len(all) > 0 {
		n := slices.IndexFunc(all, func(e entry) bool { return e.log != all[0].log })
		if n < 0 {
			n = len(all)
		}
		r, err := d.verifyLog(ctx, all[:n])
		if err != nil {
			return reports, err
		}
		reports, all = append(reports, r), all[n:]
	}
	return reports, nil
}

// verifyLog verifies the files of one log.
func (d *Depot) verifyLog(ctx context.Context, files []entry) (sink.Report, error) {
	from := source{d, make(map[string]entry)}
	var list []sink.Generation
	unfinished := 0
	for _, e := range files {
		if errors.Is(e.err, errNoManifest) {
			unfinished++
			continue
		}
		from.files[e.stem] = e
		number, _ := parseStem(e.stem)
		list = append(list, sink.Generation{Number: number, Name: e.stem, Size: e.TextBytes, State: "gzip",
			Opened: e.Opened, Closed: e.Closed})
	}
	r, err := sink.VerifyFiles(ctx, d.place.String()+"/"+files[0].log, list, from)
	if unfinished > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%d files have no manifest: their copies were not completed",
			unfinished))
	}
	return r, err
}

// source is a depot as the source of a verification.
type source struct {
	d     *Depot
	files map[string]entry // by stem
}

// Text implements sink.FileSource.
func (s source) Text(ctx context.Context, g sink.Generation) (io.ReadCloser, error) {
	e := s.files[g.Name]
	if e.err != nil {
		return nil, e.err
	}
	return s.d.Text(ctx, e.Manifest)
}

// Ledger implements sink.FileSource.
func (s source) Ledger(ctx context.Context, g sink.Generation) (io.ReadCloser, error) {
	e := s.files[g.Name]
	if e.Ledger == (Object{}) {
		return nil, fs.ErrNotExist
	}
	r, err := s.d.object(ctx, e.Log, e.Ledger)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("its ledger is missing: %v", err) // it has one
	}
	return r, err
}
