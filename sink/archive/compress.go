package archive

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/klauspost/compress/gzip"

	"fanin/internal/disk"
	"fanin/internal/retry"
)

// Compress makes path + ".gz", with mode, from path and returns its name. When it
// returns nil, the archive is durable and was read back and compared with path,
// which is still there: removing it is the caller's, after its own checkpoint.
// Else path is as it was and there is no archive that was not there before,
// unless the last sync alone failed. It takes no more than two thirds of a core, and less
// if rest pauses, see Rest.
func Compress(ctx context.Context, d *disk.Disk, path string, mode fs.FileMode, rest Rest) (archive string, err error) {
	archive, temp := path+Suffix, TempName(path)
	if _, err := os.Lstat(archive); !errors.Is(err, fs.ErrNotExist) { // RenameNew looks again; this saves the work
		return "", &fs.PathError{Op: "make archive", Path: archive, Err: fs.ErrExist}
	}
	src, err := d.Open(path, os.O_RDONLY, 0)
	if err != nil {
		return "", err
	}
	defer src.Close()
	if err := d.Remove(temp); err != nil {
		return "", fmt.Errorf("remove a half archive: %w", err)
	}
	err = write(ctx, d, src, temp, mode, rest)
	if err == nil {
		err = Verify(ctx, d, src, temp, rest)
	}
	if err == nil {
		err = d.RenameNew(temp, archive)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("make archive %s: %w", archive, err), d.Remove(temp))
	}
	return archive, nil
}

// Rest is called after each piece of work with how long that took. It may pause, for others that need the
// processor. Nil: it never does.
type Rest func(ctx context.Context, took time.Duration)

// after pauses after work that began at a time.
func (r Rest) after(ctx context.Context, began time.Time) error {
	took := time.Since(began)
	if r != nil {
		r(ctx, took)
	}
	return retry.Pause(ctx, took/2)
}

// write writes src's archive to temp and makes it durable.
func write(ctx context.Context, d *disk.Disk, src *disk.File, temp string, mode fs.FileMode, rest Rest) error {
	fi, err := src.Stat()
	if err != nil {
		return err
	}
	f, err := d.Open(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	p := compressor{src: src, out: f, text: make([]byte, memberText), time: fi.ModTime()}
	if p.zip, err = gzip.NewWriterLevel(io.Discard, gzip.BestSpeed); err != nil {
		return err
	}
	if err := p.pack(ctx, rest); err != nil {
		return err
	}
	if err := cmp.Or(f.OwnAs(fi), f.Chmod(mode), os.Chtimes(temp, time.Time{}, fi.ModTime())); err != nil {
		return err
	}
	return cmp.Or(f.Sync(), f.Close())
}

// compressor writes one archive.
type compressor struct {
	src, out *disk.File
	zip      *gzip.Writer
	time     time.Time // when src was last written
	text     []byte    // of one member
	packed   bytes.Buffer
	table    []byte
	at, read int64 // bytes of data members, and of text
}

func (p *compressor) pack(ctx context.Context, rest Rest) error {
	for {
		began := time.Now()
		n, err := p.next()
		if err != nil {
			return err
		}
		if n == 0 {
			_, err := p.out.Write(appendTable(nil, p.table, p.at, p.read))
			return err
		}
		if err := p.member(p.text[:n]); err != nil {
			return err
		}
		if err := rest.after(ctx, began); err != nil {
			return err
		}
	}
}

// next reads the next member's text.
func (p *compressor) next() (int, error) {
	n, err := p.src.ReadAt(p.text, p.read)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	if n == len(p.text) {
		if end := bytes.LastIndexByte(p.text, '\n') + 1; end > 0 {
			n = end
		}
	}
	return n, nil
}

func (p *compressor) member(text []byte) error {
	p.packed.Reset()
	p.zip.Reset(&p.packed)
	p.zip.ModTime = p.time
	if _, err := p.zip.Write(text); err != nil {
		return err
	}
	if err := p.zip.Close(); err != nil {
		return err
	}
	if _, err := p.out.Write(p.packed.Bytes()); err != nil {
		return err
	}
	p.table = binary.LittleEndian.AppendUint32(p.table, uint32(p.packed.Len()))
	p.table = binary.LittleEndian.AppendUint32(p.table, uint32(len(text)))
	p.at += int64(p.packed.Len())
	p.read += int64(len(text))
	return nil
}

// Verify reads the archive back through its table and compares it with src. It takes no more of a core
// than Compress.
func Verify(ctx context.Context, d *disk.Disk, src *disk.File, temp string, rest Rest) error {
	a, err := OpenMembers(d, temp)
	if err != nil {
		return err
	}
	defer a.Close()
	if a.members == nil {
		return errors.New("its table does not read back as it was written")
	}
	fi, err := src.Stat()
	if err != nil {
		return err
	}
	if fi.Size() != a.Size() {
		return fmt.Errorf("%s holds %d bytes and its archive %d: another process writes to it", src.Name(), fi.Size(),
			a.Size())
	}
	want, got := make([]byte, memberText/4), make([]byte, memberText/4)
	for at := int64(0); at < fi.Size(); at += int64(len(want)) {
		began := time.Now()
		n := int(min(int64(len(want)), fi.Size()-at))
		if _, err := src.ReadAt(want[:n], at); err != nil {
			return err
		}
		if _, err := a.ReadAt(got[:n], at); err != nil {
			return err
		}
		if !bytes.Equal(want[:n], got[:n]) {
			return fmt.Errorf("it differs from %s between bytes %d and %d", src.Name(), at, at+int64(n))
		}
		if err := rest.after(ctx, began); err != nil {
			return err
		}
	}
	return nil
}
