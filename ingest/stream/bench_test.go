package stream_test

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"fanin/ingest/ingesttest"
	"fanin/internal/wire"
)

// discard counts what it is given.
type discard struct{ bytes, batches atomic.Int64 }

func (d *discard) Append(_ context.Context, b wire.Batch) error {
	d.bytes.Add(int64(len(b.Text)))
	d.batches.Add(1)
	return nil
}

// sample is lines of 46 to 328 bytes.
func sample(lines int) []byte {
	var b bytes.Buffer
	for i := range lines {
		fmt.Fprintf(&b, "%08d %s\n", i, strings.Repeat("x", 37+i*7919%283))
	}
	return b.Bytes()
}

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPlain: one operation is a line, sender and collector in one process.
func BenchmarkPlain(b *testing.B) {
	for _, conns := range []int{1, 8, 64} {
		b.Run(fmt.Sprint(conns), func(b *testing.B) {
			d := new(discard)
			addr := ingesttest.Start(b, &ingesttest.TCP{Out: d})
			text := sample(5000)
			var senders sync.WaitGroup
			b.SetBytes(int64(len(text) / 5000))
			b.ReportAllocs()
			b.ResetTimer()
			before := cpu()
			total := 0
			for range conns {
				nc := ingesttest.Dial(b, addr)
				nc.SetDeadline(time.Now().Add(time.Hour))
				times := (b.N/conns + 4999) / 5000
				total += times
				senders.Go(func() {
					for range times {
						nc.Write(text)
					}
					nc.Close()
				})
			}
			senders.Wait()
			for d.bytes.Load() < int64(total*len(text)) {
				runtime.Gosched()
			}
			b.ReportMetric(float64(total*5000)/b.Elapsed().Seconds(), "lines/s")
			b.ReportMetric((cpu()-before).Seconds()/float64(total*5000)*1e6, "cpu-s/M")
			b.ReportMetric(float64(total*len(text))/float64(d.batches.Load()), "B/batch")
		})
	}
}
