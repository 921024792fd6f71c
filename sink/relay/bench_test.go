package relay

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"fanin/internal/wire"
	"fanin/sink"
)

// BenchmarkReader reads lines of 190 bytes into batches: lines that came together, and lines with a time
// each. The time is that of a line.
func BenchmarkReader(b *testing.B) {
	for _, each := range []bool{false, true} {
		b.Run(fmt.Sprintf("each time %t", each), func(b *testing.B) {
			s := &sink.Sink{Path: b.TempDir() + "/all.log", Sync: "none", Host: "here", Rotation: sink.RotationPolicy{Size: -1}}
			if err := s.Open(context.Background()); err != nil {
				b.Fatal(err)
			}
			defer s.Close(context.Background())
			const lines = 200_000
			for range lines / 1000 {
				batch := wire.Batch{Host: "web-1", Source: "nginx", Input: "tcp", Time: time.Now().UnixMicro()}
				for i := range 1000 {
					if each {
						batch.Label(wire.Labels{Host: "web-1", Source: "nginx", Time: time.UnixMicro(1795366800000000 + int64(i))})
					}
					batch.Text = append(batch.Text, strings.Repeat("x", 189)...)
					batch.Text = append(batch.Text, '\n')
				}
				if err := s.Append(context.Background(), batch); err != nil {
					b.Fatal(err)
				}
			}
			if err := s.Checkpoint(context.Background()); err != nil {
				b.Fatal(err)
			}
			end, batch := s.End(), new(batch)
			for n := 0; b.Loop(); {
				b.StopTimer()
				r := newReader(s.Reader(sink.Position{}), labeler{format: "syslog", host: "here"}, wire.MaxText, nil)
				b.StartTimer()
				for n = 0; r.position() != end; n += batch.lines {
					if err := r.next(context.Background(), batch); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*lines), "ns/line")
			}
		})
	}
}
