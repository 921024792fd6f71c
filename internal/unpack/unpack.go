// Package unpack reads the text of compressed files, gzip (RFC 1952) and Zstandard (RFC
// 8878), as a stream: in bounded memory, whatever a file announces or expands to.
package unpack

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Format is a format of compressed files.
type Format string

// The formats that can be read. None is that of anything else.
const (
	None Format = ""
	Gzip Format = "gzip"
	Zstd Format = "zstd"
)

// HeadSize is how many first bytes of a file show its format.
const HeadSize = 4

// MaxWindow is how many bytes of text a Zstandard frame may refer back to: as many as the
// program zstd accepts without --long. So much memory is used for it. Gzip needs 32 KiB.
const MaxWindow = 128 << 20

// Detect recognizes the format by a file's first bytes. Of Zstandard they may be those of a
// frame to skip, with which pzstd begins.
func Detect(head []byte) Format {
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b\x08")):
		return Gzip
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")),
		len(head) >= HeadSize && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:HeadSize], []byte("\x2a\x4d\x18")):
		return Zstd
	}
	return None
}

// Damage is the error of a file that cannot be read to its end. What was read before it is
// the text up to the damage.
type Damage struct {
	Whole bool // the text is complete: something else follows its end
	Err   error
}

// Error says what is wrong.
func (d *Damage) Error() string { return d.Err.Error() }

// Unwrap returns what the decompressor says.
func (d *Damage) Unwrap() error { return d.Err }

// Reader reads the text of a compressed file. Its end is io.EOF, or a *Damage; any other
// error is one of the file itself.
type Reader struct {
	in   *source
	gzip *gzip.Reader // of the current member; nil before the first one, and of the other format
	zstd *zstd.Decoder
	err  error
}

// NewReader reads a file of a format from its beginning.
func NewReader(file io.Reader, format Format) (*Reader, error) {
	r := &Reader{in: &source{file: file}}
	r.in.buffer = bufio.NewReaderSize(readSource{r.in}, 64<<10)
	switch format {
	case Gzip:
		return r, nil
	case Zstd:
		var err error
		r.zstd, err = zstd.NewReader(r.in.buffer, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(MaxWindow), zstd.WithDecoderMaxMemory(MaxWindow))
		return r, err
	}
	return nil, fmt.Errorf("unknown format %q", format)
}

// Close frees the memory.
func (r *Reader) Close() {
	if r.zstd != nil {
		r.zstd.Close()
	}
	r.zstd, r.gzip, r.err = nil, nil, errClosed
}

var errClosed = errors.New("closed")

// Read implements io.Reader.
func (r *Reader) Read(b []byte) (n int, err error) {
	for n == 0 && r.err == nil && len(b) > 0 {
		if r.zstd != nil {
			n, r.err = r.readZstd(b)
		} else {
			n, r.err = r.readGzip(b)
		}
	}
	if n > 0 {
		return n, nil // an error comes with the next call
	}
	return 0, r.err
}

// readZstd reads text. The decoder returns its error before the text of a block whose
// checksum is wrong or missing, and again behind it.
func (r *Reader) readZstd(b []byte) (int, error) {
	n, err := r.zstd.Read(b)
	if err != nil && n == 0 {
		n, err = r.zstd.Read(b)
	}
	if n > 0 {
		return n, nil
	}
	return 0, r.explain(err)
}

// readGzip reads from the current member, or begins the next one. A file may have several,
// one after the other, and be filled up with NULs.
func (r *Reader) readGzip(b []byte) (int, error) {
	if r.gzip == nil {
		return 0, r.beginMember(new(gzip.Reader), true)
	}
	n, err := r.gzip.Read(b)
	if err == io.EOF { // the member's checksum agrees
		err = r.beginMember(r.gzip, false)
	} else {
		err = r.explain(err)
	}
	return n, err
}

// beginMember reads the header of the next member.
func (r *Reader) beginMember(z *gzip.Reader, first bool) error {
	if !first {
		switch next, err := r.in.buffer.Peek(1); {
		case len(next) == 0:
			return r.explain(err)
		case next[0] == 0:
			return r.padding()
		case next[0] != 0x1f:
			return &Damage{Whole: true, Err: errTrailing}
		}
	}
	err := z.Reset(r.in.buffer)
	if err == nil {
		z.Multistream(false)
		r.gzip = z
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err = r.explain(err); !first && errors.Is(err, gzip.ErrHeader) {
		return &Damage{Whole: true, Err: errTrailing}
	}
	return err
}

var errTrailing = errors.New("behind the end of its text are other bytes, which are not gzip")

// padding reads NULs to the end of the file.
func (r *Reader) padding() error {
	for {
		c, err := r.in.buffer.ReadByte()
		if err != nil {
			return r.explain(err)
		}
		if c != 0 {
			return &Damage{Whole: true, Err: errTrailing}
		}
	}
}

// explain distinguishes errors of the file from those of its content.
func (r *Reader) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case r.in.err != nil:
		return r.in.err
	case err == io.EOF:
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = errors.New("it is cut off: its end is missing")
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		err = fmt.Errorf("more than %d MiB of memory are needed to unpack it; unpack it first: zstd -d --long=31",
			MaxWindow>>20)
	case errors.Is(err, zstd.ErrUnknownDictionary):
		err = errors.New("it was compressed with a dictionary; unpack it first: zstd -d -D DICTIONARY")
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, zstd.ErrCRCMismatch):
		err = errors.New("its content does not have its checksum, so some of its lines may be wrong")
	default:
		err = fmt.Errorf("its content is corrupt, so the last lines before that may be wrong: %w", err)
	}
	return &Damage{Err: err}
}

// source is the file, and the error that reading it had.
type source struct {
	file   io.Reader
	buffer *bufio.Reader
	err    error
}

// readSource reads the file, and keeps its error.
type readSource struct{ s *source }

func (r readSource) Read(b []byte) (int, error) {
	n, err := r.s.file.Read(b)
	if err != nil && err != io.EOF {
		r.s.err = err
	}
	return n, err
}
