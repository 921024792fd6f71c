package sink

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"fanin/internal/wire"
)

// A line of exactly the longest length is committed; one byte more is refused, and so is
// a line more between two cuts.
func TestLongestPiece(t *testing.T) {
	line := func(n int) []byte { return append(bytes.Repeat([]byte("x"), n-1), '\n') }
	for _, c := range []struct {
		name    string
		text    []byte
		refused bool
	}{
		{"longest line", line(maxPiece), false},
		{"one byte more", line(maxPiece + 1), true},
		{"most lines", bytes.Repeat([]byte("\n"), wire.MaxCutLines), false},
		{"one line more", bytes.Repeat([]byte("\n"), wire.MaxCutLines+1), true},
		{"most bytes of two lines", append(line(wire.MaxCutText-1), '\n'), false},
		{"one byte more in two lines", append(line(wire.MaxCutText), '\n'), true},
	} {
		s := open(t, &Sink{Sync: syncNone})
		if err := begins(s, "a", "", 1); err != nil {
			t.Fatal(err)
		}
		err := s.Append(context.Background(), wire.Batch{Stream: streamID(1), Epoch: 1, Agent: "a", Input: "agent",
			End: int64(len(c.text)), After: wire.TailHash(c.text), Text: c.text})
		if c.refused != errors.Is(err, wire.ErrRefused) || !c.refused && err != nil {
			t.Errorf("%s: %v, want a refusal: %v", c.name, err, c.refused)
		}
	}
}
