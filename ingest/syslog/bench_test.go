package syslog

import (
	"fmt"
	"testing"
	"time"
)

const benchText = "connection from 198.51.100.7 port 41822 closed by peer after 30 seconds: request=/api/v1/items?id=7 status=200"

// BenchmarkScan: one operation is a message.
func BenchmarkScan(b *testing.B) {
	for _, x := range []struct {
		name, format string
		tags         int
		s            Settings
	}{
		{"3164", "<134>Nov 26 12:00:01 web1 app-%d[4711]: " + benchText, 1, Settings{}},
		{"3164 time", "<134>Nov 26 12:00:01 web1 app-%d[4711]: " + benchText, 1, Settings{SenderTime: true, Zone: time.UTC, TrustHost: true}},
		{"3164 json", "<134>Nov 26 12:00:01 web1 app-%d[4711]: " + benchText, 1, Settings{JSON: true}},
		{"3164 4096 tags", "<134>Nov 26 12:00:01 web1 app-%d[4711]: " + benchText, 4096, Settings{NameBytes: 1 << 20}},
		{"3164 distinct tags", "<134>Nov 26 12:00:01 web1 app-%d[4711]: " + benchText, 100_000, Settings{NameBytes: 1 << 20}},
		{"5424", "<134>1 2026-11-26T12:00:01.123456Z web1 app-%d 4711 - - " + benchText, 1, Settings{}},
		{"5424 time", "<134>1 2026-11-26T12:00:01.123456Z web1 app-%d 4711 - - " + benchText, 1, Settings{SenderTime: true, TrustHost: true}},
		{"5424 data", `<134>1 2026-11-26T12:00:01.123456Z web1 app-%d 4711 ID1 [timeQuality tzKnown="1"][a@32473 b="c" d="e"] ` + benchText, 1, Settings{}},
	} {
		b.Run(x.name, func(b *testing.B) {
			s, from := x.s.New(), Origin{Host: "192.0.2.1", Now: readAt}
			messages := make([][]byte, x.tags)
			for i := range messages {
				messages[i] = fmt.Appendf(nil, x.format, i)
			}
			var out []byte
			for _, m := range messages {
				out, _ = s.Scan(out[:0], m, &from)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				out, _ = s.Scan(out[:0], messages[i], &from)
				if i++; i == len(messages) {
					i = 0
				}
			}
		})
	}
}
