package wire

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"fanin/internal/msgpack"
)

// packedText reads a batch's text, whose length before compression is raw. Its block
// also pays for labels bytes of labels.
func (d *Decoder) packedText(packed bool, raw int64, labels int) ([]byte, error) {
	if !packed {
		return d.rawText(raw, labels)
	}
	if d.Zstd == nil {
		return nil, msgpack.Errorf("a compressed text was not agreed on")
	}
	text, err := d.rawText(-1, labels)
	if err != nil {
		return nil, err
	}
	defer d.free(text)
	return d.unpack(text, int(raw), labels)
}

// unpack decompresses packed into a block for raw bytes and never for more: the zstd
// header must announce the same length before any of it is decompressed.
func (d *Decoder) unpack(packed []byte, raw, labels int) ([]byte, error) {
	var h zstd.Header
	if err := h.Decode(packed); err != nil || !h.HasFCS || h.FrameContentSize != uint64(raw) {
		return nil, msgpack.Errorf("a compressed text whose header does not announce %d bytes", raw)
	}
	if raw > MaxExpansion*len(packed) {
		return nil, msgpack.Errorf("%d bytes of compressed text that expand to %d; at most %d times as many",
			len(packed), raw, MaxExpansion)
	}
	room, err := d.room(raw, labels)
	if err != nil {
		return nil, err
	}
	text, err := d.Zstd.DecodeAll(packed, room[:0])
	if err != nil || len(text) != raw {
		d.free(room)
		return nil, msgpack.Errorf("a compressed text that does not expand to %d bytes: %v", raw, err)
	}
	if Expands(len(packed), text) {
		d.free(room)
		return nil, msgpack.Errorf("%d bytes of compressed text with %d bytes in %d lines, "+
			"each line counted as %d bytes more; at most %d times as many: send it uncompressed",
			len(packed), raw, bytes.Count(text, []byte{'\n'}), LineCost, MaxExpansion)
	}
	return text, nil
}

// rawText reads a bin of n bytes into a block of its own, which also pays for labels
// bytes; n < 0 accepts any length that leaves space for those.
func (d *Decoder) rawText(n int64, labels int) ([]byte, error) {
	size, err := d.in.R.ReadBytesHeader()
	if err != nil {
		return nil, err
	}
	if int64(size) > int64(MaxText-labels) || n >= 0 && int64(size) != n {
		return nil, msgpack.Errorf("a text of %d bytes; at most %d with its labels, and as announced", size, MaxText)
	}
	if d.Grow != nil {
		return d.grown(int(size), labels)
	}
	text, err := d.room(int(size), labels)
	if err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(d.in.R.R, text); err != nil {
		d.free(text)
		return nil, err
	}
	return text, nil
}

// pay makes the block of the text that is to come as large as the labels that came
// before it, so that their memory is counted as the text's is.
func (d *Decoder) pay(labels int) {
	for d.Grow != nil && d.in.Err == nil && cap(d.block) < labels {
		d.grow(labels)
	}
}

// grow makes the block larger, for n bytes in the end.
func (d *Decoder) grow(n int) {
	block, err := d.Grow(d.block, n)
	if err != nil {
		d.in.Err = fmt.Errorf("allocate %d bytes: %w", n, err)
		return
	}
	d.block = block[:cap(block)]
}

// grown reads n bytes into a block that grows with them. Its end stays empty: it pays
// for labels bytes.
func (d *Decoder) grown(n, labels int) ([]byte, error) {
	for filled := 0; filled < n && d.in.Err == nil; {
		if _, d.in.Err = d.in.R.R.Peek(1); d.in.Err != nil { // no memory before there is a byte for it
			break
		}
		space := len(d.block) - labels
		if space <= filled {
			d.grow(n + labels)
			continue
		}
		_, d.in.Err = io.ReadFull(d.in.R.R, d.block[filled:min(space, n)])
		filled = min(space, n)
	}
	if d.in.Err != nil {
		return nil, d.in.Err
	}
	text := d.block[:min(n, len(d.block))]
	d.block = nil
	return text, nil
}

// room is a block of n bytes that also pays for labels bytes.
func (d *Decoder) room(n, labels int) ([]byte, error) {
	if d.Room == nil {
		return make([]byte, n), nil
	}
	b, err := d.Room(n + labels)
	if err != nil {
		return nil, fmt.Errorf("allocate %d bytes: %w", n+labels, err)
	}
	return b[:n], nil
}

func (d *Decoder) free(b []byte) {
	if d.Free != nil {
		d.Free(b)
	}
}
