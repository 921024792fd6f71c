package nats

import (
	"reflect"
	"strings"
	"testing"

	"fanin/internal/wire"
)

// TestBatchBuilder: the batch has a mark where the source changes, and a cut only where it must be
// divided.
func TestBatchBuilder(t *testing.T) {
	var b batchBuilder
	large := strings.Repeat("x", wire.MaxCutText-1) + "\n"
	b.add("a", []byte("one\n"), wire.Point{Offset: 1, Tail: 10})
	b.add("a", []byte("two\n"), wire.Point{Offset: 2, Tail: 20})
	b.add("b", []byte("three\n"), wire.Point{Offset: 3, Tail: 30})
	b.add("b", []byte(large), wire.Point{Offset: 4, Tail: 40})
	marks := []wire.Mark{{Text: 0, Labels: wire.Labels{Source: "a"}}, {Text: 8, Labels: wire.Labels{Source: "b"}}}
	if !reflect.DeepEqual(b.Marks, marks) {
		t.Errorf("marks are %+v, want %+v", b.Marks, marks)
	}
	if cuts := []wire.Cut{{Text: 14, End: 3, After: 30}}; !reflect.DeepEqual(b.Cuts, cuts) {
		t.Errorf("cuts are %+v, want %+v", b.Cuts, cuts)
	}
	if b.lines != 4 || b.end != (wire.Point{Offset: 4, Tail: 40}) {
		t.Errorf("%d lines, at %+v", b.lines, b.end)
	}
	if b.fits(fullBatch) || !b.fits(1) {
		t.Error("fits is wrong")
	}
	if b.reset(); !b.empty() || !b.fits(fullBatch) || len(b.Marks)+len(b.Cuts) > 0 {
		t.Errorf("after a reset: %+v", b)
	}
}
