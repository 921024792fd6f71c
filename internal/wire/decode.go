package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/tinylib/msgp/msgp"
)

// Decoder reads frames. Everything a frame claims is checked against a limit
// before room is made for it, so a hostile peer costs no memory.
type Decoder struct {
	// Room gives n bytes, n <= MaxText, for a text that is about to be read; it
	// may wait, and its error ends the connection. Nil: make.
	Room func(n int) ([]byte, error)
	// Grow gives space for a text of n bytes that comes over a network, so that
	// memory follows what has come and not what is announced: at least one byte
	// more than have, which it takes over and whose bytes stand first. It may wait.
	// Its error ends the connection, and have is then still the decoder's. Nil: Room
	// gives the space for a whole text at once.
	Grow func(have []byte, n int) ([]byte, error)
	// Free takes back what Room and Grow gave and no batch carries away. May be nil.
	Free func([]byte)
	// Zstd opens compressed texts, by DecodeAll. Nil: they are a protocol error.
	Zstd *zstd.Decoder

	r *msgp.Reader
}

// NewDecoder reads frames from r through a small buffer.
func NewDecoder(r io.Reader) *Decoder {
	mr := msgp.NewReaderSize(r, 4<<10)
	mr.SetMaxStringLength(MaxName)
	mr.SetMaxElements(MaxText)
	return &Decoder{r: mr}
}

// Reset makes the decoder read from r.
func (d *Decoder) Reset(r io.Reader) { d.r.Reset(r) }

// Buffered is how many bytes were read ahead of the frames returned so far.
func (d *Decoder) Buffered() int { return d.r.Buffered() }

// ErrProtocol is matched by errors that say the peer does not speak this
// protocol: the connection cannot go on.
var ErrProtocol = errors.New("protocol error")

// Next reads the next frame into f. It returns io.EOF between two frames, an
// ErrProtocol for what is no frame, and else the reader's error. The batch's
// text is the caller's to free.
func (d *Decoder) Next(f *Frame) error {
	*f = Frame{}
	t, err := d.r.NextType()
	if err == io.EOF && d.r.Buffered() == 0 {
		return err // the one place where it is a clean end
	}
	if err != nil {
		return classify(f.Kind, err)
	}
	if t != msgp.ArrayType {
		return fmt.Errorf("%w: a frame begins with %v, want an array", ErrProtocol, t)
	}
	n, err := d.r.ReadArrayHeader()
	if err == nil {
		err = d.body(f, n)
	}
	return classify(f.Kind, err)
}

// classify keeps the reader's own errors as they are and calls all else an ErrProtocol.
func classify(k Kind, err error) error {
	var bad msgp.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF):
		return fmt.Errorf("in a frame of kind %d: %w", k, io.ErrUnexpectedEOF)
	case errors.Is(err, ErrProtocol):
		return err
	case errors.As(err, &bad):
		return fmt.Errorf("%w: in a frame of kind %d: %v", ErrProtocol, k, err)
	}
	return fmt.Errorf("in a frame of kind %d: %w", k, err)
}

// elements is the length of each kind of frame's array.
func elements(k Kind) uint32 {
	switch k {
	case KindDrain:
		return 1
	case KindPing, KindPong, KindAck, KindStreams:
		return 2
	case KindRefuse, KindLater, KindFault:
		return 3
	case KindEnd:
		return 5
	case KindWelcome:
		return 6
	case KindOpen, KindNack:
		return 7
	case KindSkip:
		return 8
	case KindLossy:
		return 11
	case KindBatch:
		return batchElements
	}
	return 0
}

const (
	batchElements   = 13
	batchElementsV1 = 12 // no marks
)

// fits reports whether a frame of kind k may have n elements.
func fits(k Kind, n uint32) bool {
	want := elements(k)
	return want != 0 && want == n || k == KindBatch && n == batchElementsV1
}

func (d *Decoder) body(f *Frame, n uint32) error {
	t, err := d.r.NextType()
	if err != nil {
		return err
	}
	if t == msgp.StrType {
		return d.hello(&f.Hello, n)
	}
	k, err := d.r.ReadUint8()
	if err != nil {
		return err
	}
	f.Kind = Kind(k)
	if !fits(f.Kind, n) {
		return fmt.Errorf("%w: a frame of kind %d with %d elements", ErrProtocol, k, n)
	}
	switch f.Kind {
	case KindBatch, KindOpen, KindSkip, KindEnd:
		return d.batch(f.Kind, n, &f.Batch)
	case KindLossy:
		return d.lossy(&f.Batch)
	case KindWelcome:
		return d.welcome(f)
	case KindStreams:
		return d.streams(f)
	case KindAck, KindNack, KindRefuse, KindLater:
		return d.answer(f.Kind, &f.Answer)
	case KindFault:
		f.Reason = d.text(&err)
		f.N = d.int(&err)
	case KindPing, KindPong:
		f.N = d.int(&err)
	}
	return err
}

func (d *Decoder) hello(h *Hello, n uint32) (err error) {
	if magic := d.text(&err); err == nil && (magic != "fanin" || n != 7) {
		return fmt.Errorf("%w: a greeting that is not a fanin agent's", ErrProtocol)
	}
	h.Version = int(d.int(&err))
	h.Agent = d.text(&err)
	h.Instance = d.id(&err)
	h.Run = d.int(&err)
	h.Host = d.text(&err)
	h.Software = d.text(&err)
	return err
}

func (d *Decoder) batch(k Kind, n uint32, b *Batch) (err error) {
	b.Stream, b.Epoch, b.Offset = d.id(&err), d.epoch(&err), d.int(&err)
	b.End = b.Offset
	switch k {
	case KindOpen:
		b.Op, b.Before, b.Source = OpOpen, d.hash(&err), d.text(&err)
		b.Identity = d.bytes(&err, MaxIdentity)
		b.After = b.Before
	case KindSkip:
		b.Op, b.End = OpSkip, d.int(&err)
		b.Before, b.After, b.Reason = d.hash(&err), d.hash(&err), d.text(&err)
	case KindEnd:
		b.Op, b.Before = OpEnd, d.hash(&err)
		b.After = b.Before
	default:
		b.End = d.int(&err)
		b.Before, b.After, b.Time = d.hash(&err), d.hash(&err), d.int(&err)
		d.cuts(b, &err)
		if n == batchElements {
			d.noMarks(&err)
		}
		encoding, raw := d.int(&err), d.int(&err)
		if err == nil {
			b.Text, err = d.packedText(encoding, raw)
		}
	}
	return err
}

func (d *Decoder) lossy(b *Batch) (err error) {
	b.Kind = StreamLossy
	b.Agent, b.Host, b.Source = d.text(&err), d.text(&err), d.text(&err)
	b.Stream, b.Epoch = d.id(&err), d.epoch(&err)
	b.Offset, b.End = d.int(&err), d.int(&err)
	b.FirstLine, b.Time = d.int(&err), d.int(&err)
	if err == nil {
		b.Text, err = d.rawText(-1)
	}
	return err
}

// packedText reads a batch's text: raw is its length before compression.
func (d *Decoder) packedText(encoding, raw int64) ([]byte, error) {
	if raw < 0 || raw > MaxText || encoding < 0 || encoding > 1 {
		return nil, fmt.Errorf("%w: a text of %d bytes in encoding %d; at most %d, plain or zstd", ErrProtocol, raw, encoding, MaxText)
	}
	if encoding == 0 {
		return d.rawText(raw)
	}
	if d.Zstd == nil {
		return nil, fmt.Errorf("%w: a compressed text was not agreed on", ErrProtocol)
	}
	packed, err := d.rawText(-1)
	if err != nil {
		return nil, err
	}
	defer d.free(packed)
	return d.unpack(packed, int(raw))
}

// unpack opens packed into room for raw bytes and never for more: the frame's
// own header must say the same length before any of it is opened.
func (d *Decoder) unpack(packed []byte, raw int) ([]byte, error) {
	var h zstd.Header
	if err := h.Decode(packed); err != nil || !h.HasFCS || h.FrameContentSize != uint64(raw) {
		return nil, fmt.Errorf("%w: a compressed text that does not say it holds %d bytes", ErrProtocol, raw)
	}
	if raw > MaxExpansion*len(packed) {
		return nil, fmt.Errorf("%w: %d bytes of compressed text that open to %d; at most %d times as many", ErrProtocol, len(packed), raw, MaxExpansion)
	}
	room, err := d.room(raw)
	if err != nil {
		return nil, err
	}
	text, err := d.Zstd.DecodeAll(packed, room[:0])
	if err != nil || len(text) != raw {
		d.free(room)
		return nil, fmt.Errorf("%w: a compressed text that does not open to %d bytes: %v", ErrProtocol, raw, err)
	}
	if Expands(len(packed), text) {
		d.free(room)
		return nil, fmt.Errorf("%w: %d bytes of compressed text with %d bytes in %d lines, each line counted as %d bytes more; at most %d times as many: send it uncompressed",
			ErrProtocol, len(packed), raw, bytes.Count(text, []byte{'\n'}), LineCost, MaxExpansion)
	}
	return text, nil
}

// rawText reads a bin of n bytes into room of its own; n < 0 takes any length.
func (d *Decoder) rawText(n int64) ([]byte, error) {
	size, err := d.r.ReadBytesHeader()
	if err != nil {
		return nil, err
	}
	if size > MaxText || n >= 0 && int64(size) != n {
		return nil, fmt.Errorf("%w: a text of %d bytes; at most %d and as announced", ErrProtocol, size, MaxText)
	}
	if d.Grow != nil {
		return d.grown(int(size))
	}
	text, err := d.room(int(size))
	if err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(d.r.R, text); err != nil {
		d.free(text)
		return nil, err
	}
	return text, nil
}

// grown reads n bytes into space that grows with them.
func (d *Decoder) grown(n int) (text []byte, err error) {
	for len(text) < n && err == nil {
		if _, err = d.r.R.Peek(1); err == nil { // no space before there is a byte for it
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
	_, err = io.ReadFull(d.r.R, text[have:])
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

func (d *Decoder) cuts(b *Batch, err *error) {
	n := d.array(err)
	if n > MaxText/MaxCutLines*4 {
		*err = fmt.Errorf("%w: %d cuts in one batch", ErrProtocol, n)
	}
	for i := uint32(0); i < n && *err == nil; i++ {
		d.want(3, err)
		b.Cuts = append(b.Cuts, Cut{Text: int(d.int(err)), End: d.int(err), After: d.hash(err)})
	}
}

// noMarks reads the place where labels inside a batch will be.
func (d *Decoder) noMarks(err *error) {
	if n := d.array(err); *err == nil && n > 0 {
		*err = fmt.Errorf("%w: a batch with %d changes of labels inside, which this release does not take: install the same release on both sides", ErrProtocol, n)
	}
}

func (d *Decoder) welcome(f *Frame) (err error) {
	d.int(&err) // the version: a collector of another one refuses the hello
	f.Welcome.Log, f.Welcome.Incarnation = d.id(&err), d.id(&err)
	f.N = d.int(&err)
	d.about(&f.Welcome.About, &err)
	return err
}

func (d *Decoder) about(a *About, err *error) {
	var n uint32
	if *err == nil {
		n, *err = d.r.ReadMapHeader()
	}
	for ; n > 0 && *err == nil; n-- {
		switch key := d.text(err); {
		case *err != nil:
		case key == "boot":
			a.Boot = d.text(err)
		case key == "files":
			a.Files = d.logFiles(err)
		default:
			*err = d.r.Skip()
		}
	}
}

func (d *Decoder) logFiles(err *error) (files []LogFile) {
	n := d.array(err)
	if n > MaxAbout {
		*err = fmt.Errorf("%w: a welcome that names %d files", ErrProtocol, n)
	}
	for ; n > 0 && *err == nil; n-- {
		d.want(4, err)
		files = append(files, LogFile{d.uint(err), d.uint(err), Point{d.int(err), d.hash(err)}})
	}
	return files
}

func (d *Decoder) streams(f *Frame) (err error) {
	n := d.array(&err)
	if n > streamsPerFrame {
		return fmt.Errorf("%w: %d streams in one frame", ErrProtocol, n)
	}
	for i := uint32(0); i < n && err == nil; i++ {
		d.want(7, &err)
		s := StreamState{Stream: d.id(&err)}
		d.watermark(&s.Watermark, &err)
		s.Source, s.Identity = d.text(&err), d.bytes(&err, MaxIdentity)
		f.Streams = append(f.Streams, s)
	}
	return err
}

func (d *Decoder) answer(k Kind, a *Answer) (err error) {
	a.Kind, a.Stream = k, d.id(&err)
	switch k {
	case KindNack:
		a.Expected.Known = d.bool(&err)
		d.watermark(&a.Expected.Watermark, &err)
	case KindRefuse, KindLater:
		a.Reason = d.text(&err)
	}
	return err
}

func (d *Decoder) watermark(w *Watermark, err *error) {
	w.Epoch, w.Offset, w.Tail = d.epoch(err), d.int(err), d.hash(err)
	n := d.array(err)
	if n > MaxTrail {
		*err = fmt.Errorf("%w: a trail of %d points", ErrProtocol, n)
	}
	for i := uint32(0); i < n && *err == nil; i++ {
		d.want(2, err)
		w.Trail = append(w.Trail, Point{Offset: d.int(err), Tail: d.hash(err)})
	}
}

// The readers of single elements do nothing once *err is set, so that a frame
// is read as one list and checked once.

func (d *Decoder) want(n uint32, err *error) {
	if got := d.array(err); *err == nil && got != n {
		*err = fmt.Errorf("%w: %d elements, want %d", ErrProtocol, got, n)
	}
}

func (d *Decoder) array(err *error) (n uint32) {
	if *err == nil {
		n, *err = d.r.ReadArrayHeader()
	}
	return n
}

func (d *Decoder) int(err *error) (n int64) {
	if *err == nil {
		n, *err = d.r.ReadInt64()
	}
	return n
}

func (d *Decoder) epoch(err *error) (n uint32) {
	if *err == nil {
		n, *err = d.r.ReadUint32()
	}
	return n
}

func (d *Decoder) uint(err *error) (n uint64) {
	if *err == nil {
		n, *err = d.r.ReadUint64()
	}
	return n
}

func (d *Decoder) hash(err *error) Hash { return Hash(d.uint(err)) }

func (d *Decoder) bool(err *error) (b bool) {
	if *err == nil {
		b, *err = d.r.ReadBool()
	}
	return b
}

func (d *Decoder) text(err *error) (s string) {
	if *err == nil {
		s, *err = d.r.ReadString()
	}
	return s
}

func (d *Decoder) id(err *error) (id StreamID) {
	if *err == nil {
		*err = d.r.ReadExactBytes(id[:])
	}
	return id
}

func (d *Decoder) bytes(err *error, most uint32) []byte {
	if *err != nil {
		return nil
	}
	var n uint32
	if n, *err = d.r.ReadBytesHeader(); *err != nil || n == 0 {
		return nil
	}
	if n > most {
		*err = fmt.Errorf("%w: %d bytes where at most %d belong", ErrProtocol, n, most)
		return nil
	}
	b := make([]byte, n)
	_, *err = io.ReadFull(d.r.R, b)
	return b
}

// IsHello reports whether a connection that begins with head is an agent's; more
// says that head is too short to tell.
func IsHello(head []byte) (yes, more bool) {
	n := min(len(head), len(Magic))
	if !bytes.Equal(head[:n], []byte(Magic)[:n]) {
		return false, false
	}
	return n == len(Magic), n < len(Magic)
}

// PeekStream is the stream that the next frame of a stream names. The decoder is
// of no use afterwards.
func (d *Decoder) PeekStream() (id StreamID, err error) {
	n, err := d.r.ReadArrayHeader()
	if err != nil {
		return id, classify(0, err)
	}
	k, err := d.r.ReadUint8()
	if err == nil && (Kind(k) == KindHello || Kind(k) > KindEnd || !fits(Kind(k), n)) {
		err = fmt.Errorf("%w: a frame of kind %d with %d elements", ErrProtocol, k, n)
	}
	if err == nil {
		id = d.id(&err)
	}
	return id, classify(Kind(k), err)
}
