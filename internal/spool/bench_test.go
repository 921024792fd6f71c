package spool

import (
	"bytes"
	"fmt"
	"testing"

	"fanin/internal/wire"
)

// BenchmarkSpool is what a pipe of lines costs from its reader to the collector's answer,
// syncs included.
func BenchmarkSpool(b *testing.B) {
	const lines = 1_000_000
	text := bytes.Repeat([]byte("2026-11-26T03:04:05.678Z a line of a usual length, with some words in it, and a number 123456\n"), lines)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		settings := quick(b.TempDir())
		settings.SegmentBytes, settings.SyncEvery = 0, 0
		s, err := Open(settings)
		if err != nil {
			b.Fatal(err)
		}
		var got counting
		ended := make(chan error, 1)
		go func() { ended <- s.Run(b.Context(), &got) }() // ends with the spool
		s.Welcome(wire.Welcome{Log: wire.NewStreamID()}, wire.MaxText)
		if err := s.NewInput("").Read(b.Context(), bytes.NewReader(text)); err != nil {
			b.Fatal(err)
		}
		if err := s.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
		if err := <-ended; err != nil || got.lines != lines {
			b.Fatal(got.lines, err)
		}
	}
	b.ReportMetric(float64(lines)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mlines/s")
}

// BenchmarkDatagrams is the same for lines that come one by one from a process each.
func BenchmarkDatagrams(b *testing.B) {
	settings := quick(b.TempDir())
	settings.SegmentBytes, settings.SyncEvery = 0, 0
	s, err := Open(settings)
	if err != nil {
		b.Fatal(err)
	}
	var got counting
	ended := make(chan error, 1)
	go func() { ended <- s.Run(b.Context(), &got) }() // ends with the spool
	s.Welcome(wire.Welcome{Log: wire.NewStreamID()}, wire.MaxText)
	line := []byte("a line of a usual length, with some words in it, and a number 123456\n")
	sources := []string{"app[1]", "app[22]", "other[333]"}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := s.Append(b.Context(), line, sources[i%len(sources)]); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	if err := <-ended; err != nil {
		b.Fatal(fmt.Errorf("%d lines: %w", got.lines, err))
	}
}
