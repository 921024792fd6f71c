package wire

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/tinylib/msgp/msgp"
)

// pack writes elements as MessagePack; []byte as bin, head as an array's head.
func pack(t testing.TB, elements ...any) (b []byte) {
	t.Helper()
	for _, e := range elements {
		switch e := e.(type) {
		case head:
			b = msgp.AppendArrayHeader(b, uint32(e))
		case raw:
			b = append(b, e...)
		default:
			var err error
			if b, err = msgp.AppendIntf(b, e); err != nil {
				t.Fatal(err)
			}
		}
	}
	return b
}

type (
	head uint32 // of an array
	raw  string // bytes as they are
)

// counted is a decoder whose rooms are counted.
type counted struct {
	*Decoder
	given, taken, most int
}

func newCounted(t testing.TB, r io.Reader) *counted {
	c := &counted{Decoder: NewDecoder(r)}
	c.Zstd = unpacker(t)
	c.Room = func(n int) ([]byte, error) {
		c.given++
		c.most = max(c.most, n)
		return make([]byte, n), nil
	}
	c.Free = func([]byte) { c.taken++ }
	return c
}

func bin(n int) []byte { return make([]byte, n) }

// packedOf is text as a zstd frame.
func packedOf(t testing.TB, text []byte, options ...zstd.EOption) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil, options...)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	return z.EncodeAll(text, nil)
}

// brokenFrames are frames that no fanin sends.
func brokenFrames(t testing.TB) map[string][]byte {
	data := func(cuts []any, encoding, length any, text ...any) []byte {
		b := pack(t, head(13), 1, bin(16), 0, 0, 9, 0, 0, 0)
		b = append(b, pack(t, cuts...)...)
		b = append(b, pack(t, head(0), encoding, length)...)
		return append(b, pack(t, text...)...)
	}
	marks := func(marks ...any) []byte {
		b := pack(t, head(13), 1, bin(16), 0, 0, 9, 0, 0, 0, head(0))
		b = append(b, pack(t, marks...)...)
		return append(b, pack(t, 0, 9, bin(9))...)
	}
	none := []any{head(0)}
	const tooMany = MaxText/MaxCutLines*4 + 1
	state := string(pack(t, head(7), bin(16), 0, 0, 0, head(0), "s", bin(0)))
	bomb := packedOf(t, bin(64<<20))
	lying := bytes.Clone(packedOf(t, bin(1<<20), zstd.WithSingleSegment(true))) // FCS of 4 bytes at 5
	lying[5], lying[6], lying[7], lying[8] = 100, 0, 0, 0
	all := map[string][]byte{
		"a prefix that MessagePack never uses":   {0xc1},
		"a number":                               pack(t, 7),
		"a map":                                  pack(t, map[string]any{"a": 1}),
		"a string":                               pack(t, "hello\n"),
		"an extension":                           pack(t, raw("\xd4\x01\x00")),
		"an empty array":                         pack(t, head(0), 0),
		"an array of 4 G":                        pack(t, raw("\xdd\xff\xff\xff\xff"), 1),
		"no kind":                                pack(t, head(2), nil, 1),
		"an unknown kind":                        pack(t, head(2), 99, 1),
		"a hello's number":                       pack(t, head(7), 0, 1),
		"a kind that wraps around":               pack(t, head(2), 256+5, 1),
		"a negative kind":                        pack(t, head(2), -5, 1),
		"a kind in floating point":               pack(t, head(2), 5.0, 1),
		"too few elements":                       pack(t, head(1), 5),
		"too many elements":                      pack(t, head(3), 5, 1, 1),
		"marks without end":                      marks(raw("\xdd\xff\xff\xff\xff")),
		"more marks than allowed":                marks(head(MaxMarks+1), raw(strings.Repeat("\x94\x00\xa0\xa0\xc0", MaxMarks+1))),
		"a mark of 6":                            marks(head(1), head(6), 1, "h", "s", nil, "", ""),
		"a mark with 4 KiB of attributes":        marks(head(1), head(5), 1, "h", "s", nil, strings.Repeat("a", MaxAttributes+1)),
		"a mark of 3":                            marks(head(1), head(3), 1, "h", "s"),
		"a mark with a host that is bin":         marks(head(1), head(4), 1, []byte("h"), "s", 1),
		"a mark with a host of 256 bytes":        marks(head(1), head(4), 1, strings.Repeat("h", MaxName+1), "s", 1),
		"a mark with a source of 4 GiB":          marks(head(1), head(4), 1, "h", raw("\xdb\xff\xff\xff\xff")),
		"a mark with a time that is a string":    marks(head(1), head(4), 1, "h", "s", "now"),
		"a mark with a time of 64 bits":          marks(head(1), head(4), 1, "h", "s", uint64(1)<<63),
		"a text that leaves no space for labels": pack(t, head(13), 1, bin(16), 0, 0, 9, 0, 0, 0, head(0), head(1), head(4), 1, "", "s", nil, 0, MaxText-MarkBytes, raw("\xc6\x00\x3f\xff\xc0")),
		"a batch of 14":                          pack(t, head(14), 1, bin(16)),
		"a welcome that is no map":               pack(t, head(6), 16, 2, bin(16), bin(16), 0, head(0)),
		"a welcome with 65 files":                append(msgp.AppendMapHeader(pack(t, head(6), 16, 2, bin(16), bin(16), 0), 1), pack(t, "files", head(65))...),
		"a welcome with a file of 3":             append(msgp.AppendMapHeader(pack(t, head(6), 16, 2, bin(16), bin(16), 0), 1), pack(t, "files", head(1), head(3), 1, 1, 1)...),
		"a batch of 11":                          pack(t, head(11), 1, bin(16)),
		"another protocol's greeting":            pack(t, head(7), "fanim", 1, "a", bin(16), 1, "h", "s"),
		"a greeting of 8":                        pack(t, head(8), "fanin", 1, "a", bin(16), 1, "h", "s", 0),
		"a greeting with an endless word":        pack(t, head(7), raw("\xdb\xff\xff\xff\xff")),
		"a name of 256 bytes":                    pack(t, head(7), "fanin", 1, strings.Repeat("a", MaxName+1)),
		"a name of 4 GiB":                        pack(t, head(7), "fanin", 1, raw("\xdb\xff\xff\xff\xff")),
		"a name that is bin":                     pack(t, head(7), "fanin", 1, []byte("web-1")),
		"a stream of 15 bytes":                   pack(t, head(2), 18, bin(15)),
		"a stream of 17 bytes":                   pack(t, head(2), 18, bin(17)),
		"a stream of 4 GiB":                      pack(t, head(2), 18, raw("\xc6\xff\xff\xff\xff")),
		"a stream that is a string":              pack(t, head(2), 18, strings.Repeat("a", 16)),
		"an epoch of 33 bits":                    pack(t, head(5), 4, bin(16), uint64(1)<<32),
		"a negative epoch":                       pack(t, head(5), 4, bin(16), -1),
		"an offset of 64 bits":                   pack(t, head(5), 4, bin(16), 0, uint64(1)<<63),
		"a negative hash":                        pack(t, head(5), 4, bin(16), 0, 0, -1),
		"an identity beyond its limit":           pack(t, head(7), 2, bin(16), 0, 0, 0, "s", bin(MaxIdentity+1)),
		"an identity of 4 GiB":                   pack(t, head(7), 2, bin(16), 0, 0, 0, "s", raw("\xc6\xff\xff\xff\xff")),
		"a text of 4 GiB":                        data(none, 0, 9, raw("\xc6\xff\xff\xff\xff")),
		"a text beyond its limit":                data(none, 0, MaxText+1, raw("\xc6\x00\x40\x00\x01")),
		"a text that is shorter than it says":    data(none, 0, 10, bin(9)),
		"a text that is longer than it says":     data(none, 0, 8, bin(9)),
		"a text of a negative length":            data(none, 0, -1, bin(9)),
		"a text that is a string":                data(none, 0, 5, "text\n"),
		"an unknown encoding":                    data(none, 8, 9, bin(9)),
		"a negative encoding":                    data(none, -1, 9, bin(9)),
		"cuts without end":                       data([]any{raw("\xdd\xff\xff\xff\xff")}, 0, 9, bin(9)),
		"more cuts than limits need":             data([]any{head(tooMany), raw(strings.Repeat("\x93\x01\x01\x00", tooMany))}, 0, 9, bin(9)),
		"a cut of 2":                             data([]any{head(1), head(2), 1, 1}, 0, 9, bin(9)),
		"a cut that is a number":                 data([]any{head(1), 1}, 0, 9, bin(9)),
		"zstd: no such thing":                    data(none, 1, 9, bin(9)),
		"zstd: no length in the header":          data(none, 1, 16, packedOf(t, nil)),
		"zstd: another length than announced":    data(none, 1, 17, zstdFrame()),
		"zstd: 64 MiB announced":                 data(none, 1, 64<<20, bomb),
		"zstd: 64 MiB, another length announced": data(none, 1, 100, bomb),
		"zstd: 3 MiB, another length announced":  data(none, 1, 100, packedOf(t, bin(3<<20))),
		"zstd: 1 MiB, header and frame lie":      data(none, 1, 100, lying),
		"zstd: a second frame behind it":         data(none, 1, 16, append(zstdFrame(), packedOf(t, bin(3<<20))...)),
		"zstd: a bomb behind it":                 data(none, 1, 16, append(zstdFrame(), bomb...)),
		"zstd: rubbish behind it":                data(none, 1, 16, append(zstdFrame(), "rubbish"...)),
		"a lossy text of 4 GiB":                  pack(t, head(11), 6, "a", "h", "s", bin(16), 0, 0, 9, 0, 0, raw("\xc6\xff\xff\xff\xff")),
		"too many streams":                       pack(t, head(2), 17, head(streamsPerFrame+1), raw(strings.Repeat(state, streamsPerFrame+1))),
		"streams without end":                    pack(t, head(2), 17, raw("\xdd\xff\xff\xff\xff")),
		"a stream's state of 6":                  pack(t, head(2), 17, head(1), head(6), bin(16)),
		"a trail beyond its limit":               pack(t, head(7), 19, bin(16), true, 0, 0, 0, head(MaxTrail+1), raw(strings.Repeat("\x92\x00\x00", MaxTrail+1))),
		"a point of 3":                           pack(t, head(7), 19, bin(16), true, 0, 0, 0, head(1), head(3), 0, 0, 0),
		"known that is a number":                 pack(t, head(7), 19, bin(16), 1, 0, 0, 0, head(0)),
	}
	maps.Copy(all, brokenTexts(data))
	return all
}

// brokenTexts are batches whose texts are not compressed as they say.
func brokenTexts(data func(cuts []any, encoding, length any, text ...any) []byte) map[string][]byte {
	none := []any{head(0)}
	return map[string][]byte{
		"zstd: empty":                       data(none, 1, 9, bin(0)),
		"zstd: cut off":                     data(none, 1, 16, zstdFrame()[:12]),
		"zstd: 4 GiB packed":                data(none, 1, 9, raw("\xc6\xff\xff\xff\xff")),
		"zstd and S2 at once":               data(none, 5, 16, zstdFrame()),
		"an encoding that wraps around":     data(none, 256+1, 16, zstdFrame()),
		"S2: no such thing":                 data(none, 4, 9, bin(9)),
		"S2: empty":                         data(none, 4, 9, bin(0)),
		"S2: another length than announced": data(none, 4, 17, s2Block()),
		"S2: 4 GiB announced":               data(none, 4, 16, []byte("\xff\xff\xff\xff\x0f\x00")),
		"S2: a bomb":                        data(none, 4, MaxText, s2.Encode(nil, bin(MaxText))),
		"S2: cut off":                       data(none, 4, 16, s2Block()[:12]),
		"S2: rubbish behind it":             data(none, 4, 16, append(s2Block(), "rubbish"...)),
		"S2: a copy from before the text":   data(none, 4, 16, []byte("\x10\x0ea\x01\x05")),
	}
}

func TestBrokenFrames(t *testing.T) {
	for name, b := range brokenFrames(t) {
		t.Run(name, func(t *testing.T) {
			var f Frame
			// What follows must not be needed to see it, nor hide it.
			for _, behind := range []string{"", strings.Repeat("\x00", 64)} {
				d := newCounted(t, strings.NewReader(string(b)+behind))
				if err := d.Next(&f); !errors.Is(err, ErrProtocol) {
					t.Errorf("with %d bytes behind it: %v, want ErrProtocol", len(behind), err)
				}
				if d.given != d.taken {
					t.Errorf("%d rooms taken, %d given back", d.given, d.taken)
				}
				if d.most > len(b)+100 {
					t.Errorf("room for %d bytes asked by a frame of %d", d.most, len(b))
				}
			}
		})
	}
}

func TestBrokenFramesTakeNoMemory(t *testing.T) {
	frames := brokenFrames(t)
	for _, name := range []string{"zstd: a second frame behind it", "zstd: a bomb behind it", "zstd: 1 MiB, header and frame lie"} {
		delete(frames, name) // bounded too, but by MaxText
	}
	var before, after runtime.MemStats
	for name, b := range frames {
		d := newCounted(t, bytes.NewReader(b))
		var f Frame
		runtime.ReadMemStats(&before)
		err := d.Next(&f)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 64<<10+2*uint64(len(b)) {
			t.Errorf("%s: %d bytes allocated for a frame of %d (%v)", name, got, len(b), err)
		}
	}
}

func TestCompressedTextNotAgreedOn(t *testing.T) {
	b := pack(t, head(12), 1, bin(16), 0, 0, 9, 0, 0, 0, head(0), 1, 16, zstdFrame())
	var f Frame
	if err := NewDecoder(bytes.NewReader(b)).Next(&f); !errors.Is(err, ErrProtocol) {
		t.Errorf("%v, want ErrProtocol", err)
	}
}

func TestFramesCutOff(t *testing.T) {
	for _, e := range examples() {
		for n := range e.bytes {
			d := newCounted(t, bytes.NewReader(e.bytes[:n]))
			var f Frame
			err := d.Next(&f)
			want := io.ErrUnexpectedEOF
			if n == 0 {
				want = io.EOF
			}
			if !errors.Is(err, want) || errors.Is(err, ErrProtocol) || n > 0 && errors.Is(err, io.EOF) {
				t.Errorf("%s cut off after %d bytes: %v, want %v", e.name, n, err, want)
			}
			if d.given != d.taken {
				t.Errorf("%s cut off after %d bytes: %d rooms taken, %d given back", e.name, n, d.given, d.taken)
			}
		}
	}
	var f Frame
	for _, ext := range []string{"\xd4", "\xc7", "\xc7\x01", "\xc9\x00\x00"} {
		if err := NewDecoder(strings.NewReader(ext)).Next(&f); err == nil || err == io.EOF {
			t.Errorf("half an extension % x: %v; that is no clean end", ext, err)
		}
	}
}

// What the connection says must reach the code that decides on it.
func TestReaderErrorsAreKept(t *testing.T) {
	broken := errors.New("connection reset")
	for _, e := range examples() {
		for n := range e.bytes {
			d := NewDecoder(io.MultiReader(bytes.NewReader(e.bytes[:n]), iotest.ErrReader(broken)))
			d.Zstd = unpacker(t)
			var f Frame
			if err := d.Next(&f); !errors.Is(err, broken) || errors.Is(err, ErrProtocol) {
				t.Fatalf("%s, after %d bytes: %v, want %v", e.name, n, err, broken)
			}
		}
	}
}

func TestNoRoom(t *testing.T) {
	full := errors.New("too much on its way")
	for _, e := range examples() {
		if len(e.frames[0].Batch.Text) == 0 {
			continue
		}
		d := NewDecoder(bytes.NewReader(e.bytes))
		d.Zstd = unpacker(t)
		d.Room = func(int) ([]byte, error) { return nil, full }
		var f Frame
		if err := d.Next(&f); !errors.Is(err, full) || errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v, want %v", e.name, err, full)
		}
	}
}

// Room may give more than it was asked for, as pools do.
func TestRoomIsUsed(t *testing.T) {
	for _, e := range examples() {
		want := e.frames[0].Batch.Text
		if len(want) == 0 {
			continue
		}
		blocks := [][]byte{make([]byte, 100), make([]byte, 100)}
		d := NewDecoder(bytes.NewReader(e.bytes))
		d.Zstd = unpacker(t)
		next := 0
		d.Room = func(int) ([]byte, error) { next++; return blocks[next-1], nil }
		var f Frame
		if err := d.Next(&f); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(f.Batch.Text, want) || &f.Batch.Text[0] != &blocks[next-1][0] {
			t.Errorf("%s: %q, in the room that was given: %v", e.name, f.Batch.Text, &f.Batch.Text[0] == &blocks[next-1][0])
		}
	}
}

// A text that grows comes as it was, space is asked for only when a byte is there
// for it, and all space that no batch carries away is given back.
func TestGrow(t *testing.T) {
	text := []byte(strings.Repeat("some line\n", 1000))
	b := Batch{Stream: StreamID{1}, End: int64(len(text)), Text: text}
	whole := append(AppendBatch(nil, &b, 0, text), text...)
	for n := len(whole) - len(text); n <= len(whole); n += 1000 {
		out, asked := 0, 0
		d := NewDecoder(iotest.OneByteReader(bytes.NewReader(whole[:n])))
		d.Room = func(int) ([]byte, error) { t.Error("Room was asked"); return nil, nil }
		d.Grow = func(have []byte, most int) ([]byte, error) {
			if most != len(text) || cap(have) != len(have) && len(have) < most {
				t.Errorf("asked for %d bytes with %d of %d filled", most, len(have), cap(have))
			}
			asked++
			out = 2*len(have) + 100
			return append(make([]byte, 0, out), have...)[:out], nil
		}
		d.Free = func(b []byte) { out -= cap(b) }
		var f Frame
		switch err := d.Next(&f); {
		case n < len(whole) && (!errors.Is(err, io.ErrUnexpectedEOF) || out != 0):
			t.Errorf("%d bytes: %v, %d bytes were not given back", n, err, out)
		case n == len(whole) && (err != nil || !bytes.Equal(f.Batch.Text, text)):
			t.Errorf("%d bytes of text, %v", len(f.Batch.Text), err)
		}
		if n == len(whole)-len(text) && asked > 0 {
			t.Error("space was asked for before any byte of the text was there")
		}
	}
}

// A bomb is known by what it announces: nothing is opened, and no space taken.
func TestBombTakesNoRoom(t *testing.T) {
	text := append(bytes.Repeat([]byte("x"), MaxText-1), '\n')
	packed := packedOf(t, text)
	b := Batch{Stream: StreamID{1}, End: MaxText, Text: text}
	d := newCounted(t, bytes.NewReader(append(AppendBatch(nil, &b, 1, packed), packed...)))
	var f Frame
	if err := d.Next(&f); !errors.Is(err, ErrProtocol) || d.given != 1 || d.most > len(packed) {
		t.Errorf("%v; %d rooms, the largest of %d bytes", err, d.given, d.most)
	}
}

// MessagePack writes a number in many ways, and a peer may use any of them.
func TestIntegersOfAnyWidth(t *testing.T) {
	for _, n := range []string{
		"\x07", "\xcc\x07", "\xcd\x00\x07", "\xce\x00\x00\x00\x07", "\xcf\x00\x00\x00\x00\x00\x00\x00\x07",
		"\xd0\x07", "\xd1\x00\x07", "\xd2\x00\x00\x00\x07", "\xd3\x00\x00\x00\x00\x00\x00\x00\x07",
	} {
		b := pack(t, raw("\xdd\x00\x00\x00\x05"), raw("\xd1\x00\x04"), raw("\xc6\x00\x00\x00\x10"), raw(bin(16)), raw(n), raw(n), raw(n))
		var f Frame
		if err := NewDecoder(bytes.NewReader(b)).Next(&f); err != nil {
			t.Errorf("% x: %v", n, err)
		} else if f.Kind != KindEnd || f.Batch.Epoch != 7 || f.Batch.Offset != 7 || f.Batch.Before != 7 {
			t.Errorf("% x: %+v, want 7 three times", n, f.Batch)
		}
	}
	var f Frame
	if err := NewDecoder(bytes.NewReader(pack(t, head(2), 5, -9))).Next(&f); err != nil || f.N != -9 {
		t.Errorf("a negative number where one may be: %d, %v", f.N, err)
	}
}

func TestLargestFrames(t *testing.T) {
	name := strings.Repeat("n", MaxName)
	text := append(bytes.Repeat([]byte{'x'}, MaxText-1), '\n')
	trail := make([]Point, MaxTrail)
	state := StreamState{Stream: id(1), Source: name, Identity: bin(MaxIdentity), Watermark: Watermark{Trail: trail}}
	var w Welcome
	for range 3*streamsPerFrame + 1 {
		w.Streams = append(w.Streams, state)
	}
	b := Batch{Stream: id(1), End: 1 << 62, Text: text}
	for n := MaxCutLines; n < MaxText; n += MaxCutLines {
		b.Cuts = append(b.Cuts, Cut{Text: n, End: int64(n)})
	}
	all := AppendHello(nil, Hello{Agent: name, Host: name, Software: name})
	all = append(AppendBatch(all, &b, 0, text), text...)
	all = AppendWelcome(all, w)
	d := NewDecoder(bytes.NewReader(all))
	var f Frame
	var streams int
	for {
		err := d.Next(&f)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if f.Kind == KindBatch && (!bytes.Equal(f.Batch.Text, text) || len(f.Batch.Cuts) != len(b.Cuts)) {
			t.Errorf("a text of %d bytes with %d cuts", len(f.Batch.Text), len(f.Batch.Cuts))
		}
		streams += len(f.Streams)
	}
	if streams != len(w.Streams) {
		t.Errorf("%d streams, want %d", streams, len(w.Streams))
	}
}

// However many streams an agent has and however much they say, no frame of a welcome
// is larger than the way there takes, and every stream is told once.
func TestWelcomeFramesAreBounded(t *testing.T) {
	state := StreamState{Source: strings.Repeat("n", MaxName), Identity: bin(MaxIdentity),
		Watermark: Watermark{Epoch: math.MaxUint32, Point: Point{math.MaxInt64, math.MaxUint64}}}
	for range MaxTrail {
		state.Trail = append(state.Trail, state.Point)
	}
	about := About{Boot: strings.Repeat("b", 36)}
	for range MaxAbout {
		about.Files = append(about.Files, LogFile{math.MaxUint64, math.MaxUint64, state.Point})
	}
	w := Welcome{About: about}
	for n := range 2*streamsPerFrame + 1 {
		state.Stream = id(byte(n))
		w.Streams = append(w.Streams, state)
	}
	for _, limit := range []int{4 << 10, 64 << 10, 1 << 20, 0} {
		var all []byte
		for frame := range WelcomeFrames(w, limit) {
			if limit > 0 && len(frame) > limit {
				t.Fatalf("a frame of %d bytes, at most %d", len(frame), limit)
			}
			all = append(all, frame...)
		}
		var f Frame
		d := NewDecoder(bytes.NewReader(all))
		if err := d.Next(&f); err != nil || f.N != int64(len(w.Streams)) || !reflect.DeepEqual(f.Welcome.About, about) {
			t.Fatalf("limit %d: %d streams are announced, %d files; %v", limit, f.N, len(f.Welcome.About.Files), err)
		}
		var streams []StreamState
		for len(streams) < len(w.Streams) {
			if err := d.Next(&f); err != nil {
				t.Fatalf("limit %d, behind %d streams: %v", limit, len(streams), err)
			}
			streams = append(streams, f.Streams...)
		}
		if !reflect.DeepEqual(streams, w.Streams) || d.Buffered() > 0 {
			t.Errorf("limit %d: other streams than there are", limit)
		}
	}
}

// A welcome whose list of logs is longer than a way may be is an error of the protocol.
func TestWayTooLong(t *testing.T) {
	for n := range MaxWay + 3 {
		w := Welcome{Log: id(1)}
		w.About.Way.Known = true
		for i := range n {
			w.About.Way.Logs = append(w.About.Way.Logs, id(byte(i+1)))
		}
		var f Frame
		err := NewDecoder(bytes.NewReader(AppendWelcome(nil, w))).Next(&f)
		if want := n > MaxWay; errors.Is(err, ErrProtocol) != want || !want && err != nil {
			t.Errorf("%d logs: %v", n, err)
		}
	}
}

// Only a frame of a stream names one.
func TestPeekStream(t *testing.T) {
	for _, e := range examples() {
		want := e.frames[0].Batch.Stream
		if e.frames[0].Kind == KindLossy {
			want = StreamID{} // never lies in a JetStream stream
		}
		got, err := NewDecoder(bytes.NewReader(e.bytes)).PeekStream()
		if got != want || (err == nil) != !want.IsZero() || err != nil && !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: stream %s, %v; want %s", e.name, got, err, want)
		}
	}
}

func TestFaultIsShortened(t *testing.T) {
	var f Frame
	if err := NewDecoder(bytes.NewReader(AppendFault(nil, strings.Repeat("x", 1000), 1))).Next(&f); err != nil || len(f.Reason) != MaxName {
		t.Errorf("a reason of %d bytes, %v", len(f.Reason), err)
	}
}

func TestDecoderReset(t *testing.T) {
	d := NewDecoder(strings.NewReader("\x97\xa5fan")) // half a frame, left behind
	var f Frame
	if err := d.Next(&f); err == nil {
		t.Fatal("half a frame was read")
	}
	d.Reset(bytes.NewReader(append(AppendPing(nil, KindPing, 1), 0x91)))
	if err := d.Next(&f); err != nil || f.Kind != KindPing || d.Buffered() != 1 {
		t.Errorf("%+v, %v, %d bytes buffered", f, err, d.Buffered())
	}
}
