package agent

import (
	"bytes"
	"strings"
	"testing"
	"unicode"

	"fanin/internal/tail"
)

// File names are what others chose, and so is what a collector says: neither is
// printed as it is.
func TestStatusPrintsNothingHostile(t *testing.T) {
	for _, text := range []string{"\x1b[2J", "a\nforged", "\u009b31m", "\x9b", "\u2028", "\u202ex", "\x7f\r\t"} {
		st := status{ID: text, To: []string{text}, Trouble: text, Files: []tail.FileStatus{{Path: "/var/log/" + text, Source: text, Trouble: text}}}
		var b bytes.Buffer
		st.print(&b)
		if n := strings.Count(b.String(), "\n"); n != 3 {
			t.Errorf("%q makes %d lines: %q", text, n, b.String())
		}
		for _, r := range b.String() {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Errorf("%q prints %q", text, b.String())
				break
			}
		}
	}
}
