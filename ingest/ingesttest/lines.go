package ingesttest

import (
	"bytes"
	"testing"

	"fanin/internal/wire"
)

// Joined undoes the splitting of long lines.
func Joined(text []byte) []byte {
	return bytes.ReplaceAll(text, []byte(wire.SplitMark+"\n"+wire.SplitGoesOn), nil)
}

// CheckLines checks that no line has more than limit bytes.
func CheckLines(t testing.TB, text []byte, limit int) {
	t.Helper()
	for line := range bytes.Lines(text) {
		if len(line) > limit {
			t.Fatalf("a line of %d bytes, at most %d: %.80q", len(line), limit, line)
		}
	}
}
