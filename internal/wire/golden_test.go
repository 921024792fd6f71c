package wire

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
	"github.com/tinylib/msgp/msgp"
)

var update = flag.Bool("update", false, "write testdata/*.golden anew: the protocol changes for all peers")

// example is a frame of each kind, as it is written and as it is read.
type example struct {
	name   string
	fields string // the drawing's names for the elements, in order, those inside arrays too
	bytes  []byte
	frames []Frame // a welcome is followed by its streams
}

func id(n byte) (id StreamID) {
	for i := range id {
		id[i] = n + byte(i)
	}
	return id
}

// zstdFrame is "packed as it is\n" as a zstd frame that says its length: magic,
// one segment, 16 bytes, one last raw block of 16 bytes. No encoder made it, so
// that it stays the same with every version of the library.
func zstdFrame() []byte {
	return append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x20, 16, 16<<3 | 1, 0, 0}, "packed as it is\n"...)
}

// s2Block is the same text as a block of S2: its length, and one literal. No encoder made it.
func s2Block() []byte { return append([]byte{16, 15 << 2}, "packed as it is\n"...) }

func examples() []example {
	mark := Watermark{Epoch: 2, Point: Point{70000, 0x1122334455667788}, Trail: []Point{{100, 5}, {4096, 0xffffffffffffffff}}}
	streams := []StreamState{
		{Stream: id(0x10), Source: "nginx", Identity: []byte{1, 2, 3}, Watermark: mark},
		{Stream: id(0x20), Source: "app", Watermark: Watermark{}},
	}
	hello := Hello{Version: 2, Agent: "web-1", Instance: id(0x30), Run: 7, Host: "web01.example.org", Software: "fanin-agent 0.1"}
	session := hello
	session.Session = "0f8fad5bd9cb"
	relay := hello
	relay.Session = RelaySession
	plain := Batch{Stream: id(0x10), Epoch: 2, Offset: 70000, End: 70020, Before: 0x1122334455667788, After: 0x99aabbccddeeff00, Time: 1795366800123456, Text: []byte("a line\nanother\n")}
	cut := plain
	cut.Cuts = []Cut{{Text: 7, End: 70009, After: 0x42}}
	marked := plain
	marked.Marks = []Mark{{0, Labels{Source: "app", Time: time.UnixMicro(1795366800000001)}}, {7, Labels{Host: "web02"}}}
	attributed := marked
	attributed.Marks = []Mark{{0, Labels{Attributes: "\x08PRIORITY\x01\x003"}}, {7, Labels{Attributes: "\x08PRIORITY\x01\x003\x04_UID\x04\x001000"}}}
	joined := plain
	joined.Joined, joined.Text = true, []byte("a record\xc0\x8aof two\n")
	packed := plain
	packed.Text = []byte("packed as it is\n")
	open := Batch{Op: OpOpen, Stream: id(0x10), Epoch: 3, Offset: 128, End: 128, Before: 9, After: 9, Source: "nginx", Control: Control{Identity: []byte("head and tail")}}
	skip := Batch{Op: OpSkip, Stream: id(0x10), Epoch: 3, Offset: 128, End: 1 << 33, Before: 9, After: 10, Control: Control{Reason: "source gone"}}
	end := Batch{Op: OpEnd, Stream: id(0x10), Epoch: 3, Offset: 1 << 33, End: 1 << 33, Before: 10, After: 10}
	lossy := Batch{Kind: StreamLossy, Agent: "web-1", Host: "web01", Source: "nginx", Stream: id(0x10), Epoch: 1, Offset: 300, End: 315, FirstLine: 20, Time: 1795366800123456, Text: []byte("a line\nanother\n")}
	answer := func(name, fields string, a Answer) example {
		a.Stream = id(0x10)
		return example{name, "kind, stream" + fields, AppendAnswer(nil, a), []Frame{{Kind: a.Kind, Answer: a}}}
	}
	batch := func(name, fields string, kind Kind, b Batch, encoding Encoding, text []byte) example {
		return example{name, fields, append(AppendBatch(nil, &b, encoding, text), text...), []Frame{{Kind: kind, Batch: b}}}
	}
	const batchFields = "kind, stream, epoch, offset, end, before, after, time, cuts, marks, encoding, raw length, text"
	const cutFields = "kind, stream, epoch, offset, end, before, after, time, cuts, cut, its text, its end, its after, marks, encoding, raw length, text"
	const markFields = "kind, stream, epoch, offset, end, before, after, time, cuts, marks, " +
		"mark, its text, its host, its source, its time, mark, its text, its host, its source, its time, encoding, raw length, text"
	const attributeFields = "kind, stream, epoch, offset, end, before, after, time, cuts, marks, mark, its text, its host, its source, its time, " +
		"its attributes, mark, its text, its host, its source, its time, its attributes, encoding, raw length, text"
	const streamFields = "kind, streams, state, stream, epoch, offset, tail, trail, point, offset, tail, point, offset, tail, source, identity, state, stream, epoch, offset, tail, trail, source, identity"
	w := Welcome{Log: id(0x40), Incarnation: id(0x50), About: About{
		Boot:  "3c1b0a6e-5d8e-4a3c-9f57-0d0f6a2b7c11",
		Files: []LogFile{{Device: 0xfd01, Inode: 1234567, Point: Point{1 << 28, 0x1122334455667788}}, {Device: 0xfd01, Inode: 99}},
	}}
	full, chain := w, w
	forwarded := w
	forwarded.About.Way = Way{Known: true, Logs: []StreamID{id(0x40), id(0x60)}}
	full.Streams = streams
	reads := w
	reads.About.Encodings = S2
	chain.Chain = 2
	return []example{
		{"hello", "the word, version, agent, instance id, run, host, software", AppendHello(nil, hello), []Frame{{Hello: hello}}},
		{"hello-session", "the word, version, agent and session, instance id, run, host, software", AppendHello(nil, session), []Frame{{Hello: session}}},
		{"hello-relay", "the word, version, agent and session, instance id, run, host, software", AppendHello(nil, relay), []Frame{{Hello: relay}}},
		batch("batch", batchFields, KindBatch, plain, 0, plain.Text),
		batch("batch-with-cuts", cutFields, KindBatch, cut, 0, cut.Text),
		batch("batch-with-marks", markFields, KindBatch, marked, 0, marked.Text),
		batch("batch-with-attributes", attributeFields, KindBatch, attributed, 0, attributed.Text),
		batch("batch-zstd", batchFields, KindBatch, packed, Zstd, zstdFrame()),
		batch("batch-s2", batchFields, KindBatch, packed, S2, s2Block()),
		batch("batch-joined", batchFields, KindBatch, joined, 0, joined.Text),
		batch("open", "kind, stream, epoch, base, tail, source, identity", KindOpen, open, 0, nil),
		batch("skip", "kind, stream, epoch, from, to, before, after, reason", KindSkip, skip, 0, nil),
		batch("end", "kind, stream, epoch, offset, tail", KindEnd, end, 0, nil),
		{"ping", "kind, n", AppendPing(nil, KindPing, 77), []Frame{{Kind: KindPing, N: 77}}},
		{"lossy", "kind, agent, host, source, stream, epoch, offset, end, first line, time, text", AppendLossy(nil, &lossy), []Frame{{Kind: KindLossy, Batch: lossy}}},
		{"welcome", "kind, version, log id, incarnation, number of streams, about, key, boot id, key, files, file, device, inode, offset, tail, file, device, inode, offset, tail", AppendWelcome(nil, w), []Frame{{Kind: KindWelcome, Welcome: w}}},
		{"welcome-encodings", "kind, version, log id, incarnation, number of streams, about, key, boot id, key, files, file, device, inode, offset, tail, file, device, inode, offset, tail, key, encodings", AppendWelcome(nil, reads), []Frame{{Kind: KindWelcome, Welcome: reads}}},
		{"welcome-chain", "kind, version, log id, incarnation, number of streams, about, key, boot id, key, files, file, device, inode, offset, tail, file, device, inode, offset, tail, key, chain", AppendWelcome(nil, chain), []Frame{{Kind: KindWelcome, Welcome: chain}}},
		{"welcome-forwarded", "kind, version, log id, incarnation, number of streams, about, key, boot id, key, files, file, device, inode, offset, tail, file, device, inode, offset, tail, key, way, known, log id, log id", AppendWelcome(nil, forwarded), []Frame{{Kind: KindWelcome, Welcome: forwarded}}},
		{"streams", streamFields, AppendWelcome(nil, full)[len(AppendWelcome(nil, w)):], []Frame{{Kind: KindStreams, Streams: streams}}},
		answer("ack", "", Answer{Kind: KindAck}),
		answer("nack", ", known, epoch, offset, tail, trail, point, offset, tail, point, offset, tail", Answer{Kind: KindNack, Expected: Expected{Known: true, Watermark: mark}}),
		answer("nack-unknown", ", known, epoch, offset, tail, trail", Answer{Kind: KindNack}),
		answer("refuse", ", reason", Answer{Kind: KindRefuse, Reason: "the text does not end in a newline"}),
		answer("later", ", reason", Answer{Kind: KindLater, Reason: "shutting down"}),
		{"fault", "kind, reason, seconds", AppendFault(nil, "another instance has this agent id", 30), []Frame{{Kind: KindFault, Reason: "another instance has this agent id", N: 30}}},
		{"pong", "kind, n", AppendPing(nil, KindPong, 77), []Frame{{Kind: KindPong, N: 77}}},
		{"drain", "kind", AppendDrain(nil), []Frame{{Kind: KindDrain}}},
	}
}

// goldenBytes reads the bytes of an annotated file.
func goldenBytes(t testing.TB, annotated string) (b []byte) {
	t.Helper()
	for line := range strings.Lines(annotated) {
		digits, _, _ := strings.Cut(line, "|")
		part, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, part...)
	}
	return b
}

// annotate writes a frame one element a line, with the drawing's names.
func annotate(t *testing.T, b []byte, fields string) string {
	t.Helper()
	var out strings.Builder
	names := strings.Split(fields, ", ")
	for first := true; len(b) > 0; first = false {
		name := "the frame"
		if !first {
			name, names = names[0], names[1:]
		}
		rest, what := element(t, b)
		own := b[:len(b)-len(rest)]
		for len(own) > 16 {
			fmt.Fprintf(&out, "% x |\n", own[:16])
			own = own[16:]
		}
		fmt.Fprintf(&out, "%-47s | %s: %s\n", fmt.Sprintf("% x", own), name, what)
		b = rest
	}
	if len(names) > 0 {
		t.Fatalf("names without elements: %q", names)
	}
	return out.String()
}

// element reads one element; of an array, its head.
func element(t *testing.T, b []byte) (rest []byte, what string) {
	t.Helper()
	if msgp.NextType(b) == msgp.ArrayType {
		n, rest, err := msgp.ReadArrayHeaderBytes(b)
		if err != nil {
			t.Fatal(err)
		}
		return rest, fmt.Sprintf("array of %d", n)
	}
	if msgp.NextType(b) == msgp.MapType {
		n, rest, err := msgp.ReadMapHeaderBytes(b)
		if err != nil {
			t.Fatal(err)
		}
		return rest, fmt.Sprintf("map of %d", n)
	}
	v, rest, err := msgp.ReadIntfBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	switch v := v.(type) {
	case []byte:
		if len(v) == len(StreamID{}) || !utf8.Valid(v) {
			return rest, fmt.Sprintf("%d bytes", len(v))
		}
		return rest, fmt.Sprintf("%d bytes %q", len(v), v)
	case string:
		return rest, fmt.Sprintf("%q", v)
	}
	return rest, fmt.Sprint(v)
}

// The golden files are the protocol: what they hold is what other versions say.
func TestGolden(t *testing.T) {
	for _, e := range examples() {
		t.Run(e.name, func(t *testing.T) {
			name := filepath.Join("testdata", e.name+".golden")
			if *update {
				if err := os.WriteFile(name, []byte(annotate(t, e.bytes, e.fields)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			golden, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			want := goldenBytes(t, string(golden))
			if !bytes.Equal(e.bytes, want) {
				t.Errorf("written\n%s\nwant\n%s", hex.Dump(e.bytes), hex.Dump(want))
			}
			if got := annotate(t, want, e.fields); got != string(golden) {
				t.Errorf("the notes in %s do not fit its bytes; they are\n%s", name, got)
			}
			d := NewDecoder(bytes.NewReader(want))
			d.Zstd = unpacker(t)
			checkFrames(t, d, e.frames)
		})
	}
}

// Batches of version 1 may lie in a JetStream stream when the collector is
// renewed: testdata/batch-v1.golden is one, as that version wrote it.
func TestBatchOfVersion1(t *testing.T) {
	golden, err := os.ReadFile(filepath.Join("testdata", "batch-v1.golden"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range examples() {
		if e.name == "batch-with-cuts" {
			checkFrames(t, NewDecoder(bytes.NewReader(goldenBytes(t, string(golden)))), e.frames)
		}
	}
}

// What a later release tells of its log is skipped by this one.
func TestAboutOfALaterRelease(t *testing.T) {
	b := pack(t, head(6), 16, 2, bin(16), bin(16), 0)
	b = msgp.AppendMapHeader(b, 2)
	b = append(b, pack(t, "shards", head(2), 1, map[string]any{"a": "b"}, "boot", "x")...)
	var f Frame
	if err := NewDecoder(bytes.NewReader(b)).Next(&f); err != nil || f.Welcome.About.Boot != "x" {
		t.Fatalf("%+v, %v", f.Welcome.About, err)
	}
}

func unpacker(t testing.TB) *zstd.Decoder {
	t.Helper()
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxText))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(z.Close)
	return z
}

func checkFrames(t *testing.T, d *Decoder, want []Frame) {
	t.Helper()
	var got Frame
	for i := range want {
		if err := d.Next(&got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want[i]) {
			t.Errorf("read\n%+v\nwant\n%+v", got, want[i])
		}
	}
	if err := d.Next(&got); err != io.EOF {
		t.Errorf("behind the frames: %v, want io.EOF", err)
	}
}

// All frames in one stream, in whatever pieces it comes.
func TestFramesFollowEachOther(t *testing.T) {
	var all []byte
	var want []Frame
	for _, e := range examples() {
		all, want = append(all, e.bytes...), append(want, e.frames...)
	}
	for _, size := range []int{1, 2, 3, 7, 100, 1 << 20} {
		d := NewDecoder(&pieces{all, size})
		d.Zstd = unpacker(t)
		checkFrames(t, d, want)
	}
}

// pieces is a reader that gives at most size bytes at a time.
type pieces struct {
	b    []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	n := copy(b[:min(len(b), p.size)], p.b)
	p.b = p.b[n:]
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func TestMagic(t *testing.T) {
	hello := AppendHello(nil, Hello{})
	want := msgp.AppendString(msgp.AppendArrayHeader(nil, 7), "fanin")
	if Magic != string(want) || !bytes.HasPrefix(hello, want) {
		t.Errorf("Magic is %q, a hello begins with %q, MessagePack says %q", Magic, hello[:len(Magic)], want)
	}
}

func TestIsHello(t *testing.T) {
	hello := AppendHello(nil, Hello{Version: 1, Agent: "web-1"})
	for n := range hello {
		yes, more := IsHello(hello[:n])
		if yes != (n >= len(Magic)) || more != (n < len(Magic)) {
			t.Errorf("%d bytes of a hello: %v, more %v", n, yes, more)
		}
	}
	for _, other := range []string{"GET / HTTP/1.1\r\n", "fanin\n", "\x97", "\x97\xa5fanim", "\x96\xa5fanin", "<34>1 2026-", "\x16\x03\x01", "\n", "\x97 in a line of some other tongue\n"} {
		yes, more := IsHello([]byte(other))
		if yes || more != (other == "\x97") {
			t.Errorf("%q: %v, more %v", other, yes, more)
		}
	}
}
