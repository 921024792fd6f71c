package wire

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/klauspost/compress/s2"
)

// TestPackedTextWithLabels: a compressed text and the labels together take no more than
// the largest block, whatever the frame announces.
func TestPackedTextWithLabels(t *testing.T) {
	b := Batch{Stream: StreamID{1}, End: 2, Text: []byte("x\n")}
	for i := range 1000 {
		b.Marks = append(b.Marks, Mark{i, Labels{Host: strings.Repeat("h", 200), Source: fmt.Sprint("s", i)}})
	}
	packed := make([]byte, MaxText)
	whole := append(AppendBatch(nil, &b, 1, packed), packed...)
	for _, grows := range []bool{false, true} {
		d := NewDecoder(bytes.NewReader(whole))
		d.Zstd = unpacker(t)
		check := func(n int) {
			if n > MaxText {
				t.Errorf("grows %v: a block of %d bytes is asked for, at most %d", grows, n, MaxText)
			}
		}
		d.Room = func(n int) ([]byte, error) { check(n); return make([]byte, n), nil }
		if grows {
			d.Grow = func(have []byte, n int) ([]byte, error) {
				check(n)
				return append(have, make([]byte, max(n-len(have), 1))...), nil
			}
		}
		var f Frame
		if err := d.Next(&f); !errors.Is(err, ErrProtocol) {
			t.Errorf("grows %v: %v", grows, err)
		}
	}
}

// TestUnpackBesideNext: with Defer, texts are decompressed on other goroutines while frames are
// read, in any order, and no block is lost.
func TestUnpackBesideNext(t *testing.T) {
	var stream []byte
	var texts []string
	for i := range 40 {
		text := strings.Repeat(fmt.Sprintf("line %d of many\n", i), 50)
		b := Batch{Stream: StreamID{1}, End: 1, Text: []byte(text)}
		packed, e := s2.Encode(nil, b.Text), S2
		if i%2 == 0 {
			packed, e = packedOf(t, b.Text), Zstd
		}
		stream = append(append(stream, AppendBatch(nil, &b, e, packed)...), packed...)
		texts = append(texts, text)
	}
	var rooms atomic.Int64
	d := NewDecoder(bytes.NewReader(stream))
	d.Zstd, d.Defer = unpacker(t), true
	d.Room = func(n int) ([]byte, error) { rooms.Add(1); return make([]byte, n), nil }
	d.Free = func([]byte) { rooms.Add(-1) }
	var all sync.WaitGroup
	for _, want := range texts {
		var f Frame
		if err := d.Next(&f); err != nil || f.Packing.Encoding == Plain || f.Packing.Size() != len(want) {
			t.Fatalf("%+v, %v", f.Packing, err)
		}
		all.Go(func() {
			if err := d.Unpack(&f, make([]byte, f.Packing.Size())); err != nil || string(f.Batch.Text) != want || f.Packing != (Packing{}) {
				t.Errorf("%d bytes of %d, %v", len(f.Batch.Text), len(want), err)
			}
		})
	}
	all.Wait()
	if n := rooms.Load(); n != 0 {
		t.Errorf("%d blocks were not freed", n)
	}
}

// TestUnpackRefuses: a text whose header is true and whose rest is not gives its blocks back.
func TestUnpackRefuses(t *testing.T) {
	for e, packed := range map[Encoding][]byte{Zstd: append(zstdFrame()[:20], "another..."...), S2: append(s2Block()[:3], 0xfe)} {
		b := Batch{Stream: StreamID{1}, End: 1, Text: make([]byte, 16)}
		d := newCounted(t, bytes.NewReader(append(AppendBatch(nil, &b, e, packed), packed...)))
		d.Defer = true
		var f Frame
		if err := d.Next(&f); err != nil {
			t.Fatalf("%v: %v", e, err)
		}
		if err := d.Unpack(&f, make([]byte, 16)); !errors.Is(err, ErrProtocol) || f.Batch.Text != nil || d.given != 1 || d.taken != 2 {
			t.Errorf("%v: %v; %d blocks taken, %d given back", e, err, d.given, d.taken)
		}
	}
}
