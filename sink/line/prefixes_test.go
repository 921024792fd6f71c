package line

import (
	"fmt"
	"testing"
	"time"

	"fanin/internal/wire"
)

// TestPrefixesMany: with more names than are kept, and with those that share a place, each line shows
// its own.
func TestPrefixesMany(t *testing.T) {
	for _, format := range []string{"syslog", "json"} {
		l, _ := NewLayout(format)
		one, _ := NewLayout(format)
		var marks []wire.Mark
		var text, want []byte
		for i := range 3 * recent {
			m := wire.Labels{Source: fmt.Sprintf("s%d", i/2), Host: fmt.Sprintf("h%d", i%3), Time: time.UnixMicro(readAt + int64(i%2))}
			marks = append(marks, wire.Mark{Text: len(text), Labels: m})
			line := fmt.Appendf(nil, "line %d\n", i)
			text = append(text, line...)
			one.Begin(readAt, m.Host, m.Source, []wire.Mark{{Labels: m}})
			want, _ = one.Append(want, line)
		}
		for range 2 {
			l.Begin(readAt, "h", "s", marks)
			if got, _ := l.Append(nil, text); string(got) != string(want) {
				t.Fatalf("%s:\n%s\nwant\n%s", format, got, want)
			}
		}
		var dst []byte
		if n := testing.AllocsPerRun(10, func() {
			l.Begin(readAt, "h", "s", marks)
			dst, _ = l.Append(dst[:0], text)
			l.ResetCounts()
		}); n > 0 {
			t.Errorf("%s: %v allocations for %d lines", format, n, len(marks))
		}
	}
}
