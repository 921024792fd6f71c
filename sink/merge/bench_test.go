package merge

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/sink"
)

// BenchmarkMerge reads 16 plain logs in the page cache as one. Their chunks of 64 KiB, or of one line, alternate. The
// goal is 1 GB of text a second on two cores.
func BenchmarkMerge(b *testing.B) {
	for name, chunk := range map[string]int{"64KiB": 64 << 10, "4KiB": 4 << 10, "line": 100} {
		b.Run(name, func(b *testing.B) {
			const parts = 16
			total := 512 << 20
			if chunk < 1000 {
				total = 32 << 20
			}
			line := []byte("a line of a web server, which is as long as most: GET /index.html 200\n")
			text := bytes.Repeat(line, max(1, chunk/(len(line)+45)))
			logs := make([]*sink.Sink, parts)
			for i := range logs {
				logs[i] = &sink.Sink{Path: fmt.Sprintf("%s/part-%d.log", b.TempDir(), i), Host: "here", Sync: "none", Rotation: sink.RotationPolicy{Size: -1}}
				if err := logs[i].Open(context.Background()); err != nil {
					b.Fatal(err)
				}
				defer logs[i].Close(context.Background())
			}
			begun, size := time.Now().Add(-time.Hour).UnixMicro(), int64(0)
			for n := 0; size < int64(total); n++ {
				if err := logs[n%parts].Append(context.Background(), wire.Batch{Host: "web", Source: "app", Input: "tcp", Time: begun + int64(n), Text: text}); err != nil {
					b.Fatal(err)
				}
				size += int64(len(text) + bytes.Count(text, []byte("\n"))*38)
			}
			for _, s := range logs {
				if err := s.Checkpoint(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
			null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
			if err != nil {
				b.Fatal(err)
			}
			defer null.Close()
			out := bufio.NewWriterSize(null, 64<<10)
			waittest.Until(b, "the files", func() bool { return logs[0].End().Offset > 0 })
			read, began := int64(0), processorTime()
			for b.Loop() {
				var list []Log
				at := make(Places, parts)
				for i, s := range logs {
					at[i].Partition = i
					list = append(list, partition(b, at[i], []Tenure{{Log: observe(b, s)}}))
				}
				m := New(list, at, Options{})
				for {
					p, err := m.Next(context.Background())
					if err != nil {
						b.Fatal(err)
					}
					if len(p.Text) == 0 {
						break
					}
					out.Write(p.Text)
					read += int64(len(p.Text))
				}
				m.Close()
			}
			b.SetBytes(read / int64(b.N))
			b.ReportMetric(float64(read)/1e6/(processorTime()-began).Seconds(), "MB/processor-s")
		})
	}
}

// processorTime is how much of the processors this process has used.
func processorTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
