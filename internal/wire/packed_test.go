package wire

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
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
