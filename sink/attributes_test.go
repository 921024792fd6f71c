package sink

import (
	"errors"
	"strings"
	"testing"

	"fanin/internal/sequence"
	"fanin/internal/wire"
)

// TestLargeAttributes: attributes are once in a batch and with each line in the file, where a byte
// may be six. Lines that have too many of them between two cuts are refused: as a frame they would
// be larger than the write-ahead log, which would wait for room for ever. What a Builder made fits.
func TestLargeAttributes(t *testing.T) {
	s := open(t, &Sink{Format: "json"})
	src, other := newSource(), newSource()
	src.send(t, s, "zero")
	other.send(t, s, "zero")
	value := strings.Repeat("\x01", wire.MaxAttributes-4)
	attributes, ok := wire.AppendAttribute(nil, "a", []byte(value))
	if !ok {
		t.Fatal("no room")
	}
	labels := wire.Labels{Attributes: wire.Attributes(attributes)}
	b := src.batch(make([]string, wire.MaxCutLines)...)
	b.Marks = []wire.Mark{{Labels: labels}}
	if err := s.Append(t.Context(), b); !errors.Is(err, wire.ErrRefused) {
		t.Error("100 MiB in one frame:", err)
	}
	var made sequence.Builder
	made.End = wire.Point{Offset: b.Offset}
	const lines = 1000
	for i := range int64(lines) {
		made.AddAs(labels, []byte("\n"), wire.Point{Offset: b.Offset + i + 1, Tail: wire.Hash(i)})
	}
	b.Text, b.Marks, b.Cuts, b.End, b.After = made.Text, made.Marks, made.Cuts, made.End.Offset, made.End.Tail
	if err := s.Append(t.Context(), b); err != nil {
		t.Errorf("%d lines with %d cuts: %v", lines, len(b.Cuts), err)
	}
	other.send(t, s, "one")
	expectPublished(t, s)
	if got := strings.Count(logText(t, s), strings.Repeat(`\u0001`, len(value))); got != lines {
		t.Errorf("%d lines have the attributes, want %d", got, lines)
	}
}
