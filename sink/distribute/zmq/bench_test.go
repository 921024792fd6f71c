package zmq

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/zmtp"
)

// BenchmarkPush pushes lines of 100 bytes to peers that read as fast as they can: an
// operation is one line.
func BenchmarkPush(b *testing.B) {
	for _, peers := range []int{1, 4} {
		b.Run(fmt.Sprintf("peers=%d", peers), func(b *testing.B) {
			x := push(b, new(Output))
			const each = 2000
			text := []byte(strings.Repeat(strings.Repeat("x", 99)+"\n", each))
			lines := 0
			for ; lines < b.N; lines += each {
				err := x.sink.Append(context.Background(), wire.Batch{Host: "web", Source: "app", Input: "tcp", Time: time.Now().UnixMicro(), Text: text})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range peers {
				nc, err := net.Dial("tcp", strings.TrimPrefix(x.at, "tcp://"))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := zmtp.Handshake(b.Context(), nc, &zmtp.Options{Type: zmtp.Pull}); err != nil {
					b.Fatal(err)
				}
				go io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{nc}, make([]byte, 256<<10)) // ends with the connection
				b.Cleanup(func() { nc.Close() })
			}
			waittest.Until(b, "all to be pushed", func() bool { return x.group(b).Accepted == uint64(lines) })
			b.ReportMetric(float64(lines)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}
