package gelf

import (
	"bytes"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"

	"fanin/internal/wire"
)

// unpacker unpacks messages, one at a time, in bounded memory. Its zero value is ready.
type unpacker struct {
	from bytes.Reader
	zlib zlibReader
	gzip gzip.Reader
	out  []byte
}

// zlibReader is what zlib.NewReader returns.
type zlibReader interface {
	io.Reader
	zlib.Resetter
}

// packing is how a message is compressed.
type packing byte

const (
	unpacked packing = iota
	zlibbed          // RFC 1950
	gzipped          // RFC 1952
)

// packingOf recognizes the compression of a message by its first bytes. A JSON text begins
// with neither.
func packingOf(b []byte) packing {
	switch {
	case len(b) < 2:
	case b[0] == 0x1f && b[1] == 0x8b:
		return gzipped
	case b[0] == 0x78 && b[1]&0x20 == 0 && (int(b[0])<<8|int(b[1]))%31 == 0:
		return zlibbed // deflate, a window of 32 KiB, no dictionary, and the check of these two bytes
	}
	return unpacked
}

// unpack returns a message of at most largest bytes, which is valid until the next call, or
// why there is none. What is unpacked is bounded, too, by the size of what came.
func (u *unpacker) unpack(b []byte, how packing, largest int) (message []byte, reason string) {
	limit, beyond := largest, lostLarge
	if n := wire.MaxExpansion * len(b); n < limit {
		limit, beyond = n, lostBomb
	}
	in, err := u.open(b, how)
	u.out = u.out[:0]
	for err == nil {
		if len(u.out) > limit {
			return nil, beyond
		}
		if len(u.out) == cap(u.out) {
			u.out = append(u.out, 0)[:len(u.out)]
		}
		var n int
		n, err = in.Read(u.out[len(u.out):min(cap(u.out), limit+1)])
		u.out = u.out[:len(u.out)+n]
	}
	switch {
	case !errors.Is(err, io.EOF) || len(u.out) == 0:
		return nil, lostCorrupt
	case len(u.out) > limit:
		return nil, beyond
	}
	return u.out, ""
}

// open returns a reader of what b has.
func (u *unpacker) open(b []byte, how packing) (io.Reader, error) {
	u.from.Reset(b)
	if how == gzipped {
		err := u.gzip.Reset(&u.from)
		u.gzip.Multistream(false) // what follows the message is none of it
		return &u.gzip, cutOff(err)
	}
	if u.zlib != nil {
		return u.zlib, cutOff(u.zlib.Reset(&u.from, nil))
	}
	z, err := zlib.NewReader(&u.from)
	if err == nil {
		u.zlib = z.(zlibReader)
	}
	return u.zlib, cutOff(err)
}

// cutOff makes the end of a file where a header should be what it is.
func cutOff(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
