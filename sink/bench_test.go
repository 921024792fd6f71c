package sink

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"path/filepath"
	"testing"
	"time"

	"fanin/internal/lines"
	"fanin/internal/wire"
)

// block is 256 KiB of lines of 46 to 328 bytes.
func block(seed int64) []byte {
	rnd := rand.New(rand.NewSource(seed))
	var b bytes.Buffer
	for i := 0; b.Len() < 255<<10; i++ {
		fmt.Fprintf(&b, "s%02d %08d %s\n", seed, i, bytes.Repeat([]byte("abcdefg "), 41)[:32+rnd.Intn(282)])
	}
	return b.Bytes()
}

// BenchmarkAppend is the way of anonymous lines through the writer, the log and
// the file, eight callers at a time.
func BenchmarkAppend(b *testing.B) {
	for _, mode := range []string{syncNone, syncCommit} {
		b.Run(mode, func(b *testing.B) {
			s := &Sink{Path: filepath.Join(b.TempDir(), "all.log"), Sync: mode, Rotation: RotationPolicy{Size: -1}}
			if err := s.Open(context.Background()); err != nil {
				b.Fatal(err)
			}
			defer s.Close(context.Background())
			text := block(1)
			lines := lines.Count(text)
			b.SetParallelism(4)
			b.SetBytes(int64(len(text)))
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := s.Append(context.Background(), wire.Batch{Host: "10.0.0.1", Source: "tcp", Input: "tcp", Time: time.Now().UnixMicro(), Text: text}); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(lines)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mlines/s")
		})
	}
}
