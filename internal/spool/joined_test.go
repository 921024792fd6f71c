package spool

import (
	"strings"
	"testing"

	"fanin/internal/wire"
)

// TestDividedRecord: a record that is divided, as it is larger than a batch, keeps its bytes,
// also those that take two in a batch.
func TestDividedRecord(t *testing.T) {
	for pad := range 3 {
		m := collector()
		settings := quick(t.TempDir())
		settings.SegmentBytes, settings.BatchBytes = 1<<20, 1<<10
		s := open(t, settings)
		want := strings.Repeat("x", pad) + "\n" + strings.Repeat("\xc0", 3000)
		if err := s.AppendRecord(t.Context(), []byte(want), ""); err != nil {
			t.Fatal(err)
		}
		drain(t, s, m)
		var got strings.Builder
		for _, b := range m.Kept() {
			for line := range strings.Lines(string(b.Text)) {
				part := string(wire.AppendRecordText(nil, []byte(strings.TrimSuffix(line, "\n"))))
				got.WriteString(strings.TrimSuffix(strings.TrimPrefix(part, wire.SplitGoesOn), wire.SplitMark))
			}
		}
		if got.String() != want {
			t.Errorf("%d bytes became %d", len(want), got.Len())
		}
	}
}
