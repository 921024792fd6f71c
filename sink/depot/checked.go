package depot

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// checked reads an object whose content is known.
type checked struct {
	io.ReadCloser
	want Object
	hash hash.Hash
	read int64
	err  error // of a read; nil: none, or the end
}

func newChecked(r io.ReadCloser, want Object) *checked {
	return &checked{ReadCloser: r, want: want, hash: sha256.New()}
}

// Read implements io.Reader.
func (c *checked) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.hash.Write(p[:n])
	c.read += int64(n)
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}

// Close reads the rest, and fails if the content is not what was known.
func (c *checked) Close() error {
	buf := make([]byte, blockSize)
	for n, err := 1, error(nil); err == nil && c.err == nil; {
		n, err = c.Read(buf)
		if n == 0 && err == nil {
			err = io.ErrNoProgress
		}
	}
	return errors.Join(c.different(), c.ReadCloser.Close())
}

// different says what is wrong with what was read to its end; nil: nothing.
func (c *checked) different() error {
	switch {
	case c.err != nil:
		return fmt.Errorf("read %s: %w", c.want.Name, c.err)
	case c.read != c.want.Bytes:
		return &contentError{c.want.Name, fmt.Sprintf("has %d bytes instead of %d", c.read, c.want.Bytes)}
	case hex.EncodeToString(c.hash.Sum(nil)) != c.want.SHA256:
		return &contentError{c.want.Name, "has another content: its SHA-256 is not " + c.want.SHA256}
	}
	return nil
}

// Abandon closes a text of which no more is wanted, whatever its rest is.
func Abandon(text io.ReadCloser) error {
	switch x := text.(type) {
	case *checked:
		return x.ReadCloser.Close()
	case unpacked:
		return x.raw.ReadCloser.Close()
	}
	return text.Close()
}

// contentError is of an object that is not what was copied.
type contentError struct{ name, is string }

func (e *contentError) Error() string { return e.name + " " + e.is }

// unpacked is the text of a file.
type unpacked struct {
	io.Reader
	raw *checked
}

// Close reads the rest of the file, and fails if it is not what was copied.
func (u unpacked) Close() error { return u.raw.Close() }

// unpack reads the text of a file of that name.
func unpack(raw *checked, name string) (io.ReadCloser, error) {
	if !strings.HasSuffix(name, gzipSuffix) {
		return raw, nil
	}
	zip, err := gzip.NewReader(bufio.NewReaderSize(raw, blockSize))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("decompress %s: %w", name, err), raw.Close())
	}
	return unpacked{zip, raw}, nil
}
