package datagram

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"fanin/internal/counters"
	"fanin/internal/wire"
)

// nothing is an Appender that discards.
type nothing struct{}

func (nothing) Append(context.Context, wire.Batch) error { return nil }

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkQueue: one operation is a datagram of 190 bytes of one host, from its read to
// Append. Its labels are those of all others, or its own.
func BenchmarkQueue(b *testing.B) {
	labels := make([]wire.Labels, 1<<12)
	for i := range labels {
		labels[i] = wire.Labels{Host: "192.0.2.1", Source: fmt.Sprint("program-", i), Time: time.Unix(1e9+int64(i), 0)}
	}
	for name, distinct := range map[string]bool{"same labels": false, "distinct labels": true} {
		b.Run(name, func(b *testing.B) {
			l := setUp(&Listener{Out: nothing{}})
			q := newQueue(l)
			s := newSocket(l, q)
			in := new(counters.Set).New("udp", counters.None)
			d := &Datagram{Peer: netip.AddrFrom4([4]byte{192, 0, 2, 1}), Data: bytes.Repeat([]byte("x"), 190)}
			var appending sync.WaitGroup
			appending.Go(q.run) // ends when the queue is closed
			b.ReportAllocs()
			b.ResetTimer()
			before := cpu()
			for i := range b.N {
				x := wire.Labels{Host: "192.0.2.1", Source: "udp"} // as plain lines have them
				if distinct {
					x = labels[i%len(labels)]
				}
				s.AddLines(in, d, x, d.Data)
				if i%128 == 127 {
					q.wake()
				}
			}
			q.close()
			appending.Wait()
			b.ReportMetric((cpu()-before).Seconds()/float64(b.N)*1e6, "cpu-s/M")
			if n := in.Counts(); n.Received != uint64(b.N) || n.Dropped+n.Unsure != 0 {
				b.Errorf("%+v", n)
			}
		})
	}
}
