package wire

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// FuzzDecoder: whatever comes, frames or an error, rooms bounded and given back;
// and what was read can be written and read again.
func FuzzDecoder(f *testing.F) {
	goldens, err := filepath.Glob("testdata/*.golden")
	if err != nil || len(goldens) == 0 {
		f.Fatal("no golden files", err)
	}
	for _, name := range goldens {
		golden, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(goldenBytes(f, string(golden)))
	}
	for _, b := range brokenFrames(f) {
		if len(b) < 1<<10 {
			f.Add(b)
		}
	}
	zstd := unpacker(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, deferred := range []bool{false, true} {
			decodeAll(t, b, zstd, deferred)
		}
	})
}

// decodeAll reads all frames of b.
func decodeAll(t *testing.T, b []byte, zstd *zstd.Decoder, deferred bool) {
	d := NewDecoder(bytes.NewReader(b))
	d.Zstd, d.Defer = zstd, deferred
	rooms := 0
	d.Room = func(n int) ([]byte, error) {
		if n < 0 || n > MaxText {
			t.Fatalf("room for %d bytes", n)
		}
		rooms++
		return make([]byte, n), nil
	}
	d.Free = func([]byte) { rooms-- }
	for {
		var frame Frame
		err := d.Next(&frame)
		if err == nil && frame.Packing.Encoding != Plain {
			if !deferred || frame.Packing.Length > MaxExpansion*len(frame.Batch.Text) {
				t.Fatalf("left compressed: %+v, %d bytes", frame.Packing, len(frame.Batch.Text))
			}
			rooms++
			err = d.Unpack(&frame, make([]byte, frame.Packing.Size()))
		}
		if err == nil && frame.Batch.Text != nil {
			rooms-- // the caller's now
		}
		if rooms != 0 {
			t.Fatalf("%d rooms not given back, %v", rooms, err)
		}
		if err != nil {
			if err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, ErrProtocol) {
				t.Fatal(err)
			}
			return
		}
		again(t, frame)
	}
}

// again writes a frame, reads it, and compares.
func again(t *testing.T, f Frame) {
	t.Helper()
	b := encode(f)
	var got Frame
	if err := NewDecoder(bytes.NewReader(b)).Next(&got); err != nil {
		t.Fatalf("%+v, written as % x: %v", f, b, err)
	}
	if f.Kind == KindWelcome {
		f.N = 0 // the streams are counted when it is written
	}
	if !reflect.DeepEqual(f, got) {
		t.Fatalf("read %+v, then %+v", f, got)
	}
	f.Batch.Check() // must not panic either
}

func encode(f Frame) []byte {
	switch f.Kind {
	case KindHello:
		return AppendHello(nil, f.Hello)
	case KindBatch, KindOpen, KindSkip, KindEnd:
		return append(AppendBatch(nil, &f.Batch, 0, f.Batch.Text), f.Batch.Text...)
	case KindLossy:
		return AppendLossy(nil, &f.Batch)
	case KindWelcome:
		return AppendWelcome(nil, f.Welcome)
	case KindStreams:
		return appendStreams(nil, f.Streams)
	case KindFault:
		return AppendFault(nil, f.Reason, f.N)
	case KindPing, KindPong:
		return AppendPing(nil, f.Kind, f.N)
	case KindDrain:
		return AppendDrain(nil)
	}
	return AppendAnswer(nil, f.Answer)
}
