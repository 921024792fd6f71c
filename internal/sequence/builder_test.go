package sequence

import (
	"reflect"
	"strings"
	"testing"

	"fanin/internal/wire"
)

// TestBuilder: the batch has a mark where the source changes, and a cut only where it must be
// divided.
func TestBuilder(t *testing.T) {
	var b Builder
	large := strings.Repeat("x", wire.MaxCutText-1) + "\n"
	b.Add("a", []byte("one\n"), wire.Point{Offset: 1, Tail: 10})
	b.Add("a", []byte("two\n"), wire.Point{Offset: 2, Tail: 20})
	b.Add("b", []byte("three\n"), wire.Point{Offset: 3, Tail: 30})
	b.Add("b", []byte(large), wire.Point{Offset: 4, Tail: 40})
	marks := []wire.Mark{{Text: 0, Labels: wire.Labels{Source: "a"}}, {Text: 8, Labels: wire.Labels{Source: "b"}}}
	if !reflect.DeepEqual(b.Marks, marks) {
		t.Errorf("marks are %+v, want %+v", b.Marks, marks)
	}
	if cuts := []wire.Cut{{Text: 14, End: 3, After: 30}}; !reflect.DeepEqual(b.Cuts, cuts) {
		t.Errorf("cuts are %+v, want %+v", b.Cuts, cuts)
	}
	if b.Lines != 4 || b.End != (wire.Point{Offset: 4, Tail: 40}) {
		t.Errorf("%d lines, at %+v", b.Lines, b.End)
	}
	if b.Fits(FullBatch) || !b.Fits(1) {
		t.Error("fits is wrong")
	}
	if b.Reset(); !b.Empty() || !b.Fits(FullBatch) || len(b.Marks)+len(b.Cuts) > 0 {
		t.Errorf("after a reset: %+v", b)
	}
}

func BenchmarkBuilder(b *testing.B) {
	var p Builder
	message := []byte(strings.Repeat("a line of a usual length, with some words in it\n", 1))
	b.SetBytes(int64(len(message)))
	for i := 0; b.Loop(); i++ {
		if !p.Fits(len(message)) {
			p.Reset()
		}
		p.Add("logs.web", message, wire.Point{Offset: int64(i+1) << 16})
	}
}
