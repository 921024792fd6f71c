package datagram_test

import (
	"bytes"
	"context"
	"fanin/ingest/datagram"
	"fanin/ingest/ingesttest"
	"fanin/internal/wire"
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

// BenchmarkUDP: one operation is a datagram of about 190 bytes, sent as fast as
// the sender can.
func BenchmarkUDP(b *testing.B) {
	d := new(discard)
	u := &ingesttest.UDP{Listener: datagram.Listener{Out: d}}
	to, stop := ingesttest.StartUDP(b, u, "127.0.0.1:0")
	c, err := net.DialUDP("udp", nil, to)
	if err != nil {
		b.Fatal(err)
	}
	line := bytes.Repeat([]byte("x"), 190)
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu()
	for range b.N {
		c.Write(line)
	}
	stop()
	b.ReportMetric((cpu()-before).Seconds()/float64(b.N)*1e6, "cpu-s/M")
	b.ReportMetric(float64(u.Dropped(b, "kernel")), "dropped")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "datagrams/s")
	c.Close()
}
