package plain

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"fanin/ingest"
	"fanin/ingest/stream"
	"fanin/ingest/syslog"
	"fanin/internal/wire"
)

// discard accepts everything.
type discard struct{}

func (discard) Append(context.Context, wire.Batch) error { return nil }

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkFrames is what a block costs between the read and the append; one operation is a line.
func BenchmarkFrames(b *testing.B) {
	const lines = 1500
	for name, line := range map[string]func(i int) string{
		"plain": func(i int) string { return fmt.Sprintf("%08d %s\n", i, strings.Repeat("x", 37+i*7919%283)) },
		"html":  func(i int) string { return fmt.Sprintf("%08d <b>%s</b>\n", i, strings.Repeat("x", 37+i*7919%283)) },
		"3164": func(i int) string {
			return fmt.Sprintf("<13>Oct 11 22:14:15 web01 app%d[%d]: %s\n", i%10, i%10+1000, strings.Repeat("x", 37+i*7919%283))
		},
		"5424": func(i int) string {
			return fmt.Sprintf("<13>1 2026-10-11T22:14:15.123456Z web01 app%d %d - - %s\n", i%10, i%10+1000, strings.Repeat("x", 37+i*7919%283))
		},
		"counted": func(i int) string {
			return counted(fmt.Sprintf("<13>1 2026-10-11T22:14:15.123456Z web01 app%d %d - - %s", i%10, i%10+1000, strings.Repeat("x", 37+i*7919%283)))
		},
	} {
		b.Run(name, func(b *testing.B) {
			var text bytes.Buffer
			for i := range lines {
				text.WriteString(line(i))
			}
			p := &Protocol{Out: discard{}, Syslog: &syslog.Settings{Source: "tcp"}}
			p.Format()
			c := &conn{Conn: &stream.Conn{Host: "h", Budget: new(ingest.Budget)}, p: p, appending: b.Context(), in: &stream.Intake{Block: text.Bytes()}}
			c.begin()
			b.SetBytes(int64(text.Len() / lines))
			b.ReportAllocs()
			b.ResetTimer()
			before := cpu()
			for range (b.N + lines - 1) / lines {
				c.in.Have, c.whole, c.frames.special = text.Len(), 0, false
				c.findEnds(text.Len())
				if err := c.append(whole{text: c.in.Block[:c.whole], special: c.frames.special, nuls: c.ends.NULs()}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((cpu()-before).Seconds()/float64(b.N)*1e6, "cpu-s/M")
		})
	}
}

// counted is a message with its octet count.
func counted(msg string) string { return fmt.Sprintf("%d %s", len(msg), msg) }
