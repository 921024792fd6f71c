package datagram_test

import (
	"bytes"
	"context"
	"fanin/ingest"
	"fanin/ingest/datagram"
	"fanin/ingest/ingesttest"
	"fanin/ingest/plain"
	"fanin/internal/counters"
	"fanin/internal/wire"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// discard counts what it is given.
type discard struct{ bytes, batches atomic.Int64 }

func (d *discard) Append(_ context.Context, b wire.Batch) error {
	d.bytes.Add(int64(len(b.Text)))
	d.batches.Add(1)
	return nil
}

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// labelled gives each datagram labels of its own, as a format with a time and a program
// in each message does.
func labelled() datagram.Handler {
	in := new(counters.Set).New("udp", counters.None)
	sources, n := make([]string, 1<<12), 0
	for i := range sources {
		sources[i] = fmt.Sprint("program-", i)
	}
	return func(s *datagram.Socket, d *datagram.Datagram) bool {
		n++
		labels := wire.Labels{Host: s.Names(d.Peer).Host, Source: sources[n%len(sources)], Time: time.UnixMicro(d.Time + int64(n))}
		s.AddLines(in, d, labels, d.Data)
		return true
	}
}

// BenchmarkUDP: one operation is a datagram of 190 bytes of one host, 200,000 a second,
// all with the same labels or each with its own.
func BenchmarkUDP(b *testing.B) {
	for _, x := range []struct {
		name   string
		format datagram.Format
	}{{"same labels", (&plain.Datagrams{}).Format()}, {"distinct labels", labelled}} {
		b.Run(x.name, func(b *testing.B) {
			l := &datagram.Listener{Out: new(discard), Formats: []datagram.Format{x.format}, Metrics: new(ingest.Metrics)}
			conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				b.Fatal(err)
			}
			c, err := net.DialUDP("udp", nil, conn.LocalAddr().(*net.UDPAddr))
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			served := make(chan error, 1)
			go func() { served <- l.Serve(conn) }() // ends by Shutdown
			line := bytes.Repeat([]byte("x"), 190)
			b.ReportAllocs()
			b.ResetTimer()
			before, began := cpu(), time.Now()
			for i := range b.N {
				if i%200 == 0 {
					time.Sleep(time.Until(began.Add(time.Duration(i) * 5 * time.Microsecond)))
				}
				c.Write(line)
			}
			l.Shutdown(b.Context())
			<-served
			b.ReportMetric((cpu()-before).Seconds()/float64(b.N)*1e6, "cpu-s/M")
			b.ReportMetric(float64(ingesttest.Metric(b, l.Metrics, "fanin_udp_dropped_datagrams_total", "kernel")), "dropped")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "datagrams/s")
		})
	}
}
