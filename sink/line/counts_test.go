package line

import (
	"maps"
	"testing"
	"time"

	"fanin/internal/wire"
)

// TestCounts: lines count by the names that they show and the minute in which they were read, from
// one reset to the next.
func TestCounts(t *testing.T) {
	const minute = 60_000_000
	now := time.UnixMicro(readAt)
	for format, want := range map[string][2]map[Count]int{
		"syslog": {{
			{Host: "h", Source: "s", Minute: readAt / minute}: 2, {Host: "h", Source: "a", Minute: readAt / minute}: 2,
			{Host: "g", Source: "a", Minute: readAt/minute + 1}: 1, {Host: "h", Source: "s", Minute: readAt/minute + 1}: 1,
		}, {{Host: "h", Source: "s", Minute: readAt / minute}: 1}},
		"raw": {{{Minute: readAt / minute}: 4, {Minute: readAt/minute + 1}: 2}, {{Minute: readAt / minute}: 1}},
	} {
		l, _ := NewLayout(format)
		marks := []wire.Mark{{Text: 2, Labels: wire.Labels{Source: "a"}}, {Text: 4, Labels: wire.Labels{Time: now}}, {Text: 6, Labels: wire.Labels{Source: "a", Time: now}}}
		l.Begin(readAt, "h", "s", marks)
		for _, line := range []string{"1\n", "2\n", "3\n", "4\n"} {
			l.Append(nil, []byte(line))
		}
		l.Begin(readAt+minute, "h", "s", []wire.Mark{{Text: 2, Labels: wire.Labels{Host: "g", Source: "a"}}})
		l.Append(nil, []byte("5\n6\n"))
		for _, want := range want {
			got := make(map[Count]int)
			for _, c := range l.Counts() {
				lines := c.Lines
				c.Lines = 0
				got[c] += lines
			}
			if !maps.Equal(got, want) {
				t.Errorf("%s: %v, want %v", format, got, want)
			}
			l.ResetCounts()
			l.Begin(readAt, "h", "s", nil)
			l.Append(nil, []byte("7\n"))
		}
	}
}
