package depot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fanin/internal/pace"
	"fanin/sink"
)

// copying is the copying of one file.
type copying struct {
	c    *Copier
	g    sink.Generation
	base string // what the names of its objects begin with: LOG/STEM

	file, ledger, marks *local // ledger and marks nil: there are none
}

// refusedError is of a file that cannot be copied as things are: it cannot be read, or another one has
// its place.
type refusedError struct{ error }

func refused(format string, args ...any) error { return &refusedError{fmt.Errorf(format, args...)} }

// blockSize is how much is read at a time.
const blockSize = 256 << 10

// local is a file on the collector's disk.
type local struct {
	Object
	path string
}

// run copies the file. Nothing is sent that is there already.
func (x *copying) run(ctx context.Context) error {
	m, err := x.describe(ctx)
	if err != nil {
		return err
	}
	there, err := readManifest(ctx, x.c.store, x.base)
	var bad *manifestError
	switch damaged := errors.As(err, &bad); {
	case err == nil && !there.same(&m):
		return refused("%s has another file as %s: two collectors have copies of one state, or the file was changed; "+
			"move one of the two away", x.c.place, x.base)
	case damaged && !x.c.sent[x.base+manifestSuffix]:
		return refused("%s has something else as %s%s: %w; move it away", x.c.place, x.base, manifestSuffix, err)
	case err != nil && !damaged && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	for _, l := range []*local{x.file, x.ledger, x.marks} {
		if l == nil {
			continue
		}
		if err := x.object(ctx, l, err == nil); err != nil {
			return err
		}
	}
	if err == nil {
		return nil
	}
	return x.manifest(ctx, &m, errors.Is(err, fs.ErrNotExist))
}

// describe reads the file and its ledger, and makes its manifest.
func (x *copying) describe(ctx context.Context) (Manifest, error) {
	s, g := x.c.sink, x.g
	suffix := plainSuffix
	if g.State == "gzip" {
		suffix = gzipSuffix
	}
	_, stem, _ := strings.Cut(x.base, "/")
	x.file = &local{Object: Object{Name: stem + suffix}, path: filepath.Join(filepath.Dir(s.Path), g.Name)}
	x.ledger = &local{Object: Object{Name: stem + ledgerSuffix}, path: s.LedgerPath(g.Number)}
	if _, err := os.Stat(x.ledger.path); errors.Is(err, fs.ErrNotExist) {
		x.ledger = nil
	}
	if x.c.Marks != nil {
		if path := x.c.Marks(g.Number); path != "" {
			x.marks = &local{Object: Object{Name: stem + marksSuffix}, path: path}
		}
	}
	for _, l := range []*local{x.file, x.ledger, x.marks} {
		if l == nil {
			continue
		}
		if err := x.measure(ctx, l); err != nil {
			return Manifest{}, err
		}
	}
	r, err := sink.VerifyFiles(ctx, s.Path, []sink.Generation{g}, x)
	if err != nil {
		return Manifest{}, err
	}
	if !r.OK() {
		x.c.counts.damaged.Add(1)
		x.c.log.Warn("a file of the log is not what was committed; it is archived as it is", "file", g.Name,
			"generation", g.Number, "problems", r.Found, "first", r.Problems[0])
	}
	m := Manifest{Format: manifestFormat, Log: s.LogID().String(), Host: s.Host, Layout: s.Format, Generation: g.Number,
		Opened: g.Opened.UTC().Truncate(time.Microsecond), Closed: g.Closed.UTC().Truncate(time.Microsecond),
		Lines: r.Lines, TextBytes: g.Size, File: x.file.Object}
	if x.ledger != nil {
		m.Ledger = x.ledger.Object
	}
	if x.marks != nil {
		m.Marks = x.marks.Object
	}
	return m, nil
}

// measure reads a file for its size and its SHA-256.
func (x *copying) measure(ctx context.Context, l *local) error {
	f, err := x.open(ctx, l)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if l.Bytes, err = io.CopyBuffer(h, f, make([]byte, blockSize)); err != nil {
		return x.unread(ctx, err)
	}
	l.SHA256 = hex.EncodeToString(h.Sum(nil))
	return nil
}

// open opens a file to be read from its beginning, without haste.
func (x *copying) open(ctx context.Context, l *local) (*unhurried, error) {
	f, err := x.c.sink.Disk.Open(l.path, os.O_RDONLY, 0)
	if err != nil {
		return nil, x.unread(ctx, err)
	}
	return &unhurried{ReadCloser: f, ctx: ctx, governor: x.c.governor, last: time.Now()}, nil
}

// unread is of a file that cannot be read.
func (x *copying) unread(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return refused("cannot read it: %w", err)
}

// Text implements sink.FileSource.
func (x *copying) Text(ctx context.Context, _ sink.Generation) (io.ReadCloser, error) {
	f, err := x.open(ctx, x.file)
	if err != nil {
		return nil, err
	}
	return unpack(newChecked(f, x.file.Object), x.file.Name)
}

// Ledger implements sink.FileSource.
func (x *copying) Ledger(ctx context.Context, _ sink.Generation) (io.ReadCloser, error) {
	if x.ledger == nil {
		return nil, fs.ErrNotExist
	}
	f, err := x.open(ctx, x.ledger)
	if err != nil {
		return nil, err
	}
	return newChecked(f, x.ledger.Object), nil
}

// object has the depot hold a file. counts: it is there, and was proven before, as a manifest says.
func (x *copying) object(ctx context.Context, l *local, counts bool) error {
	_, stem, _ := strings.Cut(x.base, "/")
	name := strings.TrimSuffix(x.base, stem) + l.Name
	_, err := x.c.store.stat(ctx, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	found := err == nil
	if found {
		err := x.proven(ctx, name, l.Object, counts)
		var other *contentError
		switch {
		case err == nil:
			return nil
		case !errors.As(err, &other):
			return err
		case !x.c.sent[name]:
			return refused("%s has something else as %s: %w; move it away", x.c.place, name, err)
		}
	}
	f, err := x.open(ctx, l)
	if err != nil {
		return err
	}
	defer f.Close()
	x.c.sent[name] = true
	if err := x.c.store.put(ctx, name, content{f, l.Bytes, l.SHA256, !found}); err != nil {
		if f.err != nil {
			return x.unread(ctx, f.err)
		}
		return err
	}
	x.c.counts.bytes.Add(uint64(l.Bytes))
	return x.prove(ctx, name, l.Object, x.c.sizeOnly)
}

// manifest writes the manifest, with which the file counts. fresh: there is none.
func (x *copying) manifest(ctx context.Context, m *Manifest, fresh bool) error {
	b, err := m.encode()
	if err != nil {
		return err
	}
	name, hash := x.base+manifestSuffix, sha256.Sum256(b)
	o := Object{Name: name, Bytes: int64(len(b)), SHA256: hex.EncodeToString(hash[:])}
	x.c.sent[name] = true
	if err := x.c.store.put(ctx, name, content{bytes.NewReader(b), o.Bytes, o.SHA256, fresh}); err != nil {
		return err
	}
	x.c.counts.bytes.Add(uint64(o.Bytes))
	return x.prove(ctx, name, o, false)
}

// prove has it proven that the depot holds what was sent.
func (x *copying) prove(ctx context.Context, name string, o Object, sizeOnly bool) error {
	if err := x.proven(ctx, name, o, sizeOnly); err != nil {
		return fmt.Errorf("%s has taken an object, and does not have it: %w", x.c.place, err)
	}
	delete(x.c.sent, name)
	return nil
}

// proven reads an object, or asks for its size. A *contentError: it is another one.
func (x *copying) proven(ctx context.Context, name string, o Object, sizeOnly bool) error {
	n, err := x.c.store.stat(ctx, name)
	if err != nil {
		return err
	}
	if n != o.Bytes {
		return &contentError{o.Name, fmt.Sprintf("has %d bytes instead of %d", n, o.Bytes)}
	}
	if sizeOnly {
		return nil
	}
	r, err := x.c.store.get(ctx, name)
	if err != nil {
		return err
	}
	return newChecked(&unhurried{ReadCloser: r, ctx: ctx, governor: x.c.governor, last: time.Now()}, o).Close()
}

// unhurried reads, and leaves the processors to the writer of the log if that needs them.
type unhurried struct {
	io.ReadCloser
	ctx      context.Context
	governor *pace.Governor
	last     time.Time // when the last read ended
	err      error     // of a read; nil: none, or the end
}

// Read implements io.Reader.
func (u *unhurried) Read(p []byte) (int, error) {
	u.governor.Yield(u.ctx, time.Since(u.last))
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := u.ReadCloser.Read(p)
	u.last = time.Now()
	if err != nil && err != io.EOF {
		u.err = err
	}
	return n, err
}
