package spool

import (
	"slices"
	"testing"
	"time"

	"fanin/internal/wire"
)

// Lines that each arrived at a time of their own fill a batch with labels as soon as with
// lines. It ends where a cut would be, without one.
func TestTimeOfEachLine(t *testing.T) {
	settings := quick(t.TempDir())
	settings.SegmentBytes = 1 << 30
	s, m := open(t, settings), collector()
	const n = 2*wire.MaxMarks + 10
	for i := range n {
		r := record{kind: kindLines, time: time.Now().UnixMicro() + int64(i), lines: 1, text: []byte(numbered(i, i+1))}
		if err := s.add(t.Context(), &r); err != nil {
			t.Fatal(err)
		}
	}
	drain(t, s, m)
	checkText(t, m, numbered(0, n))
	if !slices.ContainsFunc(m.Kept(), func(b wire.Batch) bool { return len(b.Marks) == wire.MaxMarks }) {
		t.Error("no batch is full of labels")
	}
}
