package redis

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanin/internal/redistest"
	"fanin/internal/wire"
	"fanin/sink"
	"fanin/sink/distribute"
)

// BenchmarkOutput carries a log of b.N lines of 100 bytes, which is there already, into a
// stream or a list.
func BenchmarkOutput(b *testing.B) {
	for name, settings := range map[string][]string{"no AOF": nil, "always": {"appendonly yes", "appendfsync always"}} {
		for _, kind := range []string{"stream", "list"} {
			b.Run(name+"/"+kind, func(b *testing.B) { benchmark(b, kind, settings) })
		}
	}
}

func benchmark(b *testing.B, kind string, settings []string) {
	s := redistest.New(b, settings...)
	k := &sink.Sink{Path: filepath.Join(b.TempDir(), "all.log"), Host: "here", Sync: "none"}
	d := distribute.New(k, distribute.Settings{})
	for _, f := range []func(context.Context) error{k.Open, d.Open} {
		if err := f(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	defer k.Close(context.Background())
	defer d.Shutdown(context.Background())
	text := strings.Repeat(strings.Repeat("x", 100)+"\n", 1000)
	for left := b.N; left > 0; left -= 1000 {
		batch := wire.Batch{Host: "web", Source: "nginx", Input: "tcp", Time: time.Now().UnixMicro(), Text: []byte(text[:101*min(left, 1000)])}
		if err := k.Append(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	if err := k.Checkpoint(b.Context()); err != nil {
		b.Fatal(err)
	}
	o := &Output{Sink: k, Work: d, Server: s.Client(), From: "start"}
	o.Stream, o.List = "fanin", ""
	if kind == "list" {
		toList(o)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	b.ResetTimer()
	go func() { o.Run(ctx); close(done) }() // ended by cancel
	for o.loop.Counts().Carried < uint64(b.N) {
		time.Sleep(time.Millisecond)
	}
	b.StopTimer()
	cancel()
	<-done
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1000, "klines/s")
	_ = fmt.Sprint()
}
