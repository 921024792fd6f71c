package zmq

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/zmtp"
)

// BenchmarkPublish publishes lines of 100 bytes to ten subscribers that read as fast as
// they can: an operation is one message to one of them.
func BenchmarkPublish(b *testing.B) {
	const subscribers, each = 10, 2000
	x := publish(b, &Publisher{HWM: 1 << 20})
	for range subscribers {
		nc, err := net.Dial("tcp", strings.TrimPrefix(x.at, "tcp://"))
		if err != nil {
			b.Fatal(err)
		}
		c, err := zmtp.Handshake(b.Context(), nc, &zmtp.Options{Type: zmtp.Sub})
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Subscribe(""); err != nil {
			b.Fatal(err)
		}
		go io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{nc}, make([]byte, 256<<10)) // ends with the connection
		b.Cleanup(func() { nc.Close() })
	}
	x.awaitSubscriptions(b, subscribers)
	text := []byte(strings.Repeat(strings.Repeat("x", 99)+"\n", each))
	b.ReportAllocs()
	b.ResetTimer()
	sent := 0
	for sent < b.N/subscribers {
		err := x.sink.Append(context.Background(), wire.Batch{Host: "web", Source: "app", Input: "tcp", Time: time.Now().UnixMicro(), Text: text})
		if err != nil {
			b.Fatal(err)
		}
		sent += each
	}
	var dropped uint64
	waittest.Until(b, "all to be sent", func() bool {
		all := uint64(0)
		dropped = 0
		for _, s := range x.Subscribers() {
			all += s.Sent + s.Dropped
			dropped += s.Dropped
		}
		return all == uint64(sent*subscribers)
	})
	b.ReportMetric(float64(sent*subscribers-int(dropped))/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(float64(dropped), "dropped")
}
