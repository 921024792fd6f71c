package wire

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"fanin/internal/msgpack"
)

// packedText reads a batch's text, whose length before compression is raw.
func (d *Decoder) packedText(packed bool, raw int64) ([]byte, error) {
	if !packed {
		return d.rawText(raw)
	}
	if d.Zstd == nil {
		return nil, msgpack.Errorf("a compressed text was not agreed on")
	}
	text, err := d.rawText(-1)
	if err != nil {
		return nil, err
	}
	defer d.free(text)
	return d.unpack(text, int(raw))
}

// unpack opens packed into room for raw bytes and never for more: the frame's
// own header must say the same length before any of it is opened.
func (d *Decoder) unpack(packed []byte, raw int) ([]byte, error) {
	var h zstd.Header
	if err := h.Decode(packed); err != nil || !h.HasFCS || h.FrameContentSize != uint64(raw) {
		return nil, msgpack.Errorf("a compressed text that does not say it holds %d bytes", raw)
	}
	if raw > MaxExpansion*len(packed) {
		return nil, msgpack.Errorf("%d bytes of compressed text that open to %d; at most %d times as many", len(packed), raw, MaxExpansion)
	}
	room, err := d.room(raw)
	if err != nil {
		return nil, err
	}
	text, err := d.Zstd.DecodeAll(packed, room[:0])
	if err != nil || len(text) != raw {
		d.free(room)
		return nil, msgpack.Errorf("a compressed text that does not open to %d bytes: %v", raw, err)
	}
	if Expands(len(packed), text) {
		d.free(room)
		return nil, msgpack.Errorf("%d bytes of compressed text with %d bytes in %d lines, each line counted as %d bytes more; "+
			"at most %d times as many: send it uncompressed",
			len(packed), raw, bytes.Count(text, []byte{'\n'}), LineCost, MaxExpansion)
	}
	return text, nil
}

// rawText reads a bin of n bytes into room of its own; n < 0 takes any length.
func (d *Decoder) rawText(n int64) ([]byte, error) {
	size, err := d.in.R.ReadBytesHeader()
	if err != nil {
		return nil, err
	}
	if size > MaxText || n >= 0 && int64(size) != n {
		return nil, msgpack.Errorf("a text of %d bytes; at most %d and as announced", size, MaxText)
	}
	if d.Grow != nil {
		return d.grown(int(size))
	}
	text, err := d.room(int(size))
	if err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(d.in.R.R, text); err != nil {
		d.free(text)
		return nil, err
	}
	return text, nil
}

// grown reads n bytes into space that grows with them.
func (d *Decoder) grown(n int) (text []byte, err error) {
	for len(text) < n && err == nil {
		if _, err = d.in.R.R.Peek(1); err == nil { // no space before there is a byte for it
			text, err = d.readOn(text, n)
		}
	}
	if err != nil {
		d.free(text)
		return nil, err
	}
	return text, nil
}

// readOn fills the next piece of space for a text of n bytes.
func (d *Decoder) readOn(text []byte, n int) ([]byte, error) {
	block, err := d.Grow(text, n)
	if err != nil {
		return text, fmt.Errorf("make room for %d bytes: %w", n, err)
	}
	have := len(text)
	text = block[:min(cap(block), n)]
	_, err = io.ReadFull(d.in.R.R, text[have:])
	return text, err
}

func (d *Decoder) room(n int) ([]byte, error) {
	if d.Room == nil {
		return make([]byte, n), nil
	}
	b, err := d.Room(n)
	if err != nil {
		return nil, fmt.Errorf("make room for %d bytes: %w", n, err)
	}
	return b[:n], nil
}

func (d *Decoder) free(b []byte) {
	if d.Free != nil {
		d.Free(b)
	}
}
