package stream_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"fanin/ingest"
	"fanin/ingest/ingesttest"
	"fanin/internal/wire"
)

// TestEncodings: one connection may send each batch in another encoding; each text arrives as it was,
// and the memory of all is given back.
func TestEncodings(t *testing.T) {
	k := ingesttest.NewRecorder()
	s := &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome}
	c := ingesttest.Greet(t, ingesttest.Start(t, s), "a", ingesttest.InstanceA, 1)
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for i, n := range []int{300, 5000, 200_000} {
		text := hexLines(n)
		for e, packed := range map[wire.Encoding][]byte{wire.Plain: text, wire.S2: s2.Encode(nil, text), wire.Zstd: z.EncodeAll(text, nil)} {
			before := len(k.Text())
			b := wire.Batch{Stream: wire.StreamID{byte(i + 1), byte(e)}, End: int64(n), Text: text}
			c.Send(append(wire.AppendBatch(nil, &b, e, packed), packed...))
			c.Want(wire.KindAck)
			if got := k.Text()[before:]; got != string(text) {
				t.Errorf("%v, %d bytes: another text came, of %d bytes", e, n, len(got))
			}
		}
	}
	if used := s.Budget.Used(); used != 0 {
		t.Errorf("%d bytes of the budget are used", used)
	}
}

// TestBadTexts: a text that cannot be decompressed, or not to that many lines, ends the connection. No
// batch that comes after it in the stream is kept, and no memory.
func TestBadTexts(t *testing.T) {
	k := ingesttest.NewRecorder()
	s := &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome}
	addr := ingesttest.Start(t, s)
	lines := append(hexLines(1000), bytes.Repeat([]byte("\n"), 9000)...)
	for name, bad := range map[string]struct {
		packed []byte
		n      int
	}{
		"a bomb":        {s2.Encode(nil, bytes.Repeat([]byte("x"), wire.MaxText)), wire.MaxText},
		"empty lines":   {s2.Encode(nil, lines), len(lines)},
		"broken inside": {[]byte("\x10\x0ea\x01\x05"), 16}, // a copy from before the text
		"cut off":       {s2.Encode(nil, hexLines(10_000))[:3000], 10_000},
	} {
		c := ingesttest.Greet(t, addr, "a", ingesttest.InstanceA, 1)
		b := wire.Batch{Stream: wire.StreamID{1}, End: int64(bad.n), Text: make([]byte, bad.n)}
		c.Send(append(wire.AppendBatch(nil, &b, wire.S2, bad.packed), bad.packed...))
		c.WantFault()
		c.Conn.Close()
		if k.Text() != "" {
			t.Fatalf("%s: %d bytes were kept", name, len(k.Text()))
		}
	}
	if used := s.Budget.Used(); used != 0 {
		t.Errorf("%d bytes of the budget are used", used)
	}
	if n := s.Rejected(t, "protocol"); n != 4 {
		t.Errorf("%d connections were rejected, want 4", n)
	}
}

// TestLittleMemoryForTwoInFlight: compressed texts of which each stream has two in flight all get
// through, although memory is used up: the second of a stream does not keep it from the first.
func TestLittleMemoryForTwoInFlight(t *testing.T) {
	k := ingesttest.NewRecorder()
	k.Outcome = func(context.Context, wire.Batch) error { return ingesttest.ErrForget }
	addr := ingesttest.Start(t, &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome, Budget: &ingest.Budget{Limit: 1 << 20}})
	text := hexLines(1 << 20)
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	packed := z.EncodeAll(text, nil)
	const agents, streams = 10, 6
	var all sync.WaitGroup
	for i := range agents {
		c := ingesttest.Greet(t, addr, fmt.Sprint("a", i), ingesttest.InstanceA, 1)
		all.Go(func() {
			for n := range 2 * streams {
				b := wire.Batch{Stream: wire.StreamID{1, byte(n / 2)}, End: 5, Text: text}
				c.Conn.Write(append(wire.AppendBatch(nil, &b, wire.Zstd, packed), packed...))
			}
			for range 2 * streams {
				var f wire.Frame
				if err := c.Dec.Next(&f); err != nil || f.Kind != wire.KindAck {
					t.Errorf("%+v, %v", f.Kind, err)
					return
				}
			}
		})
	}
	all.Wait()
}
