package wire

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"fanin/internal/msgpack"
)

// packedText reads a compressed text. It reports whether that may be decompressed.
func (d *Decoder) packedText(f *Frame) bool {
	p := &f.Packing
	if d.Zstd == nil {
		d.in.Fail("a compressed text was not agreed on")
		return false
	}
	packed, err := d.rawText(-1, p.labels)
	if err != nil {
		d.in.Err = err
		return false
	}
	if d.in.Err = p.check(packed); d.in.Err != nil {
		d.free(packed)
		return false
	}
	f.Batch.Text = packed
	return true
}

// check refuses a text before any of it is decompressed: its own header must announce the
// length that the frame does.
func (p *Packing) check(packed []byte) error {
	announced, ok := p.announced(packed)
	if !ok || announced != uint64(p.Length) {
		return msgpack.Errorf("a compressed text whose header does not announce %d bytes", p.Length)
	}
	if p.Length > MaxExpansion*len(packed) {
		return msgpack.Errorf("%d bytes of compressed text that expand to %d; at most %d times as many",
			len(packed), p.Length, MaxExpansion)
	}
	return nil
}

// announced returns the length of the text in the header of a compressed one.
func (p *Packing) announced(packed []byte) (n uint64, ok bool) {
	if p.Encoding == S2 {
		n, err := s2.DecodedLen(packed)
		return uint64(n), err == nil
	}
	var h zstd.Header
	err := h.Decode(packed)
	return h.FrameContentSize, err == nil && h.HasFCS
}

// Unpack decompresses the text of a frame that Next left compressed, into a block of at least
// f.Packing.Size bytes, and frees the other one. It may run beside Next and beside other calls.
// After an error, which is an ErrProtocol, the frame has no text, and both blocks are freed.
func (d *Decoder) Unpack(f *Frame, block []byte) error {
	return classify(f.Kind, d.unpack(f, block[:f.Packing.Length]))
}

// unpackHere is Unpack into a block of Room.
func (d *Decoder) unpackHere(f *Frame) error {
	room, err := d.room(f.Packing.Length, f.Packing.labels)
	if err != nil {
		d.free(f.Batch.Text)
		f.Packing, f.Batch.Text = Packing{}, nil
		return err
	}
	return d.unpack(f, room)
}

func (d *Decoder) unpack(f *Frame, room []byte) error {
	p, packed := f.Packing, f.Batch.Text
	f.Packing, f.Batch.Text = Packing{}, nil
	defer d.free(packed)
	text, err := d.decompress(p.Encoding, packed, room)
	if err == nil && len(text) != p.Length {
		err = fmt.Errorf("it has %d", len(text))
	}
	switch {
	case err != nil:
		err = msgpack.Errorf("a compressed text that does not expand to %d bytes: %v", p.Length, err)
	case Expands(len(packed), text):
		err = msgpack.Errorf("%d bytes of compressed text with %d bytes in %d lines, "+
			"each line counted as %d bytes more; at most %d times as many: send it uncompressed",
			len(packed), p.Length, bytes.Count(text, []byte{'\n'}), LineCost, MaxExpansion)
	default:
		f.Batch.Text = text
		return nil
	}
	d.free(room)
	return err
}

// decompress fills room, or a part of it.
func (d *Decoder) decompress(e Encoding, packed, room []byte) ([]byte, error) {
	if e == S2 {
		return s2.Decode(room, packed)
	}
	return d.Zstd.DecodeAll(packed, room[:0])
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
// before it, so that their memory is counted as the text's is. In the end it may have expected
// bytes.
func (d *Decoder) pay(labels, expected int) {
	for d.Grow != nil && d.in.Err == nil && cap(d.block) < labels {
		d.grow(max(labels, min(expected, MaxText)))
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
	if d.block = nil; labels > 0 {
		d.whole = n + labels
	}
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
