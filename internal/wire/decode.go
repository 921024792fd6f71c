package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/tinylib/msgp/msgp"

	"fanin/internal/msgpack"
)

// Decoder reads frames. It checks each length against a limit before it allocates,
// so memory follows the bytes that a peer has sent, not what it announces.
type Decoder struct {
	// Room returns a block of n bytes for a text that is about to be read and for the
	// labels of its lines, n <= MaxText. It may block; its error ends the connection.
	// Nil: make.
	Room func(n int) ([]byte, error)
	// Grow returns a block for n bytes that arrive from a network: at least one byte
	// longer than have, which it takes over and with whose bytes the block begins. From
	// one call to the next n may become larger. It may block. Its error ends the
	// connection, and have then still belongs to the decoder. Nil: Room provides the
	// block for a whole text at once.
	Grow func(have []byte, n int) ([]byte, error)
	// Free releases a block of Room or Grow that no batch carries away. May be nil.
	Free func([]byte)
	// Zstd decompresses texts, by DecodeAll. Nil: compressed texts are a protocol error.
	Zstd *zstd.Decoder
	// Defer leaves texts compressed: Frame.Packing says so, and Unpack decompresses them. Then
	// Room is not called for them.
	Defer bool

	in    *msgpack.Stream
	block []byte // of Grow, for the text of the frame that is being read
	whole int    // bytes that the last frame with marks took: the next one takes about as many
}

// NewDecoder reads frames from r through a small buffer.
func NewDecoder(r io.Reader) *Decoder { return NewDecoderSize(r, 4<<10) }

// NewDecoderSize reads frames from r through a buffer of size bytes. Texts pass it by.
func NewDecoderSize(r io.Reader, size int) *Decoder { return &Decoder{in: msgpack.NewStream(r, size)} }

// Reset makes the decoder read from r.
func (d *Decoder) Reset(r io.Reader) { d.in.R.Reset(r) }

// Buffered is how many bytes were read ahead of the frames returned so far.
func (d *Decoder) Buffered() int { return d.in.R.Buffered() }

// ErrProtocol is matched by errors that say the peer does not speak this
// protocol: the connection cannot go on.
var ErrProtocol = errors.New("protocol error")

// Next reads the next frame into f. It returns io.EOF between two frames, an
// ErrProtocol for bytes that are not a frame, and otherwise the reader's error. The
// caller releases the batch's text.
func (d *Decoder) Next(f *Frame) error {
	*f = Frame{}
	d.in.Err = nil
	t := d.in.Type()
	switch {
	case d.in.Err == io.EOF && d.in.R.Buffered() == 0:
		return io.EOF // only here it is a clean end
	case d.in.Err == nil && t != msgp.ArrayType:
		d.in.Fail("a frame begins with %v, want an array", t)
	}
	d.frame(f)
	if d.block != nil {
		d.free(d.block)
		d.block = nil
	}
	return classify(f.Kind, d.in.Err)
}

// classify keeps the reader's own errors and makes all others an ErrProtocol.
func classify(k Kind, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF):
		return fmt.Errorf("in a frame of kind %d: %w", k, io.ErrUnexpectedEOF)
	case msgpack.IsFormat(err):
		return fmt.Errorf("%w: in a frame of kind %d: %v", ErrProtocol, k, err)
	}
	return fmt.Errorf("in a frame of kind %d: %w", k, err)
}

// lengths is how many elements each kind of frame has.
var lengths = [...]uint32{
	KindBatch: batchElements, KindOpen: 7, KindSkip: 8, KindEnd: 5, KindPing: 2, KindLossy: 11,
	KindWelcome: 6, KindStreams: 2, KindAck: 2, KindNack: 7, KindRefuse: 3, KindLater: 3,
	KindFault: 3, KindPong: 2, KindDrain: 1,
}

const (
	batchElements   = 13
	batchElementsV1 = 12 // no marks
)

// kind reads the kind of a frame of n elements.
func (d *Decoder) kind(n uint32) Kind {
	k := Kind(d.in.Uint8())
	if int(k) >= len(lengths) || lengths[k] == 0 || lengths[k] != n && !(k == KindBatch && n == batchElementsV1) {
		d.in.Fail("a frame of kind %d with %d elements", k, n)
	}
	return k
}

// frame reads a frame.
func (d *Decoder) frame(f *Frame) {
	n := d.in.Array(batchElements)
	if d.in.Type() == msgp.StrType {
		d.hello(&f.Hello, n)
		return
	}
	if f.Kind = d.kind(n); d.in.Err != nil {
		return
	}
	switch f.Kind {
	case KindBatch:
		d.data(n, f)
	case KindOpen, KindSkip, KindEnd:
		d.operation(f.Kind, &f.Batch)
	case KindLossy:
		d.lossy(&f.Batch)
	case KindWelcome:
		d.welcome(f)
	case KindStreams:
		d.streams(f)
	case KindAck, KindNack, KindRefuse, KindLater:
		d.answer(f.Kind, &f.Answer)
	case KindFault:
		f.Reason, f.N = d.text(), d.in.Int()
	case KindPing, KindPong:
		f.N = d.in.Int()
	}
}

func (d *Decoder) hello(h *Hello, n uint32) {
	if magic := d.text(); magic != "fanin" || n != 7 {
		d.in.Fail("a greeting that is not a fanin agent's")
	}
	h.Version = int(d.in.Int())
	h.setOwner(d.text())
	h.Instance = d.id()
	h.Run, h.Host, h.Software = d.in.Int(), d.text(), d.text()
}

// head reads the first elements of batch, open, skip and end.
func (d *Decoder) head(b *Batch) {
	b.Stream, b.Epoch, b.Offset = d.id(), d.in.Uint32(), d.in.Int()
}

func (d *Decoder) operation(k Kind, b *Batch) {
	d.head(b)
	b.End = b.Offset
	switch k {
	case KindOpen:
		b.Op, b.Before, b.Source = OpOpen, d.hash(), d.text()
		b.Identity = d.in.Bin(MaxIdentity)
		b.After = b.Before
	case KindSkip:
		b.Op, b.End = OpSkip, d.in.Int()
		b.Before, b.After, b.Reason = d.hash(), d.hash(), d.text()
	case KindEnd:
		b.Op, b.Before = OpEnd, d.hash()
		b.After = b.Before
	}
}

// data reads a batch of n elements.
func (d *Decoder) data(n uint32, f *Frame) {
	b := &f.Batch
	d.head(b)
	b.End = d.in.Int()
	b.Before, b.After, b.Time = d.hash(), d.hash(), d.in.Int()
	d.cuts(b)
	labels := 0
	if n == batchElements {
		labels = d.marks(b)
	}
	encoding, raw := d.in.Int(), d.in.Int()
	p := Packing{Encoding(encoding &^ encodingJoined), int(raw), labels}
	if raw < 0 || raw > int64(MaxText-labels) || encoding != int64(Encoding(encoding)) || !p.Encoding.known() {
		d.in.Fail("a text of %d bytes in encoding %d; at most %d with its labels, in an encoding of this release",
			raw, encoding, MaxText)
	}
	if d.in.Err != nil {
		return
	}
	b.Joined = encoding&encodingJoined != 0
	if p.Encoding == Plain {
		b.Text, d.in.Err = d.rawText(raw, labels)
		return
	}
	if f.Packing = p; d.packedText(f) && !d.Defer {
		d.in.Err = d.unpackHere(f)
	}
}

func (d *Decoder) lossy(b *Batch) {
	b.Kind = StreamLossy
	b.Agent, b.Host, b.Source = d.text(), d.text(), d.text()
	b.Stream, b.Epoch = d.id(), d.in.Uint32()
	b.Offset, b.End = d.in.Int(), d.in.Int()
	b.FirstLine, b.Time = d.in.Int(), d.in.Int()
	if d.in.Err == nil {
		b.Text, d.in.Err = d.rawText(-1, 0)
	}
}

// maxCuts is far more than the limits for the text between two cuts require.
const maxCuts = MaxText / MaxCutLines * 4

func (d *Decoder) cuts(b *Batch) {
	for n := d.in.Array(maxCuts); n > 0 && d.in.Err == nil; n-- {
		d.in.ArrayOf(3)
		b.Cuts = append(b.Cuts, Cut{Text: int(d.in.Int()), End: d.in.Int(), After: d.hash()})
	}
}

func (d *Decoder) text() string { return d.in.String(MaxName) }

func (d *Decoder) hash() Hash { return Hash(d.in.Uint()) }

func (d *Decoder) id() (id StreamID) {
	d.in.Fixed(id[:])
	return id
}

// IsHello reports whether a connection that begins with head is an agent's. If more
// is true, head is too short to decide.
func IsHello(head []byte) (yes, more bool) {
	n := min(len(head), len(Magic))
	if !bytes.Equal(head[:n], []byte(Magic)[:n]) {
		return false, false
	}
	return n == len(Magic), n < len(Magic)
}

// PeekStream returns the stream of the next frame, which must be one of a stream. The
// decoder cannot be used afterwards.
func (d *Decoder) PeekStream() (id StreamID, err error) {
	d.in.Err = nil
	k := d.kind(d.in.Array(batchElements))
	if k == KindHello || k > KindEnd {
		d.in.Fail("a frame of kind %d is of no stream", k)
	}
	return d.id(), classify(k, d.in.Err)
}
