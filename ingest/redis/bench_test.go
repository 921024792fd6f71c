package redis

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fanin/internal/lines"
	"fanin/internal/redistest"
	"fanin/internal/wire"
)

// counter is a log that counts lines, and keeps none.
type counter struct {
	lines atomic.Int64
	full  int64
	done  chan struct{} // closed when there are so many
}

func (c *counter) Append(_ context.Context, b wire.Batch) error {
	if n := c.lines.Add(int64(lines.Count(b.Text))); len(b.Text) > 0 && n == c.full {
		close(c.done)
	}
	return nil
}

// BenchmarkStream reads entries of 100 bytes, one for each iteration, from a server on the same machine.
func BenchmarkStream(b *testing.B) {
	for name, options := range map[string]func(*Input){"plain": streamOf, "group": groupOf} {
		b.Run(name, func(b *testing.B) {
			s := redistest.New(b)
			conn, err := s.Client().Dial(b.Context(), "")
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			line := strings.Repeat("x", 99)
			for left := b.N; left > 0; left -= 1000 {
				for range min(left, 1000) {
					conn.Command("XADD", "logs", "*", "message", line)
				}
				if err := conn.Send(b.Context()); err != nil {
					b.Fatal(err)
				}
				for conn.Pending() > 0 {
					if _, err := conn.Receive(b.Context(), 0); err != nil {
						b.Fatal(err)
					}
				}
			}
			c := &counter{full: int64(b.N), done: make(chan struct{})}
			n := &Input{Client: s.Client(), Out: c, Streams: StreamOptions{Message: "message"}}
			options(n)
			served := make(chan struct{})
			b.SetBytes(100)
			b.ReportAllocs()
			b.ResetTimer()
			go func() { n.Serve(); close(served) }() // ended below
			<-c.done
			b.StopTimer()
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			if err := n.Shutdown(ctx); err != nil {
				b.Fatal(err)
			}
			<-served
		})
	}
}
