package sink

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"fanin/internal/wire"
)

// heap is the memory in use, after what is of no use was collected.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// 300,000 streams, and five agents that are greeted at once with 60,000 each, take
// at most 128 MiB; after a restart, too.
func TestManyStreams(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	const streams, agents, most = 300_000, 5, 128 << 20
	before := heap()
	ctx, path := context.Background(), filepath.Join(t.TempDir(), "all.log")
	begin := func() *Sink { // no cleanup holds it, and with it all it knows
		s := &Sink{Path: path, Sync: syncNone, env: environment{walSize: 8 << 20}}
		if err := s.Open(ctx); err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := begin()
	var all sync.WaitGroup
	for a := range agents {
		all.Go(func() {
			b := wire.Batch{Op: wire.OpOpen, Epoch: 1, Agent: fmt.Sprint("agent-", a), Host: "host", Input: "agent"}
			for n := range streams / agents {
				b.Stream, b.Source, b.Identity = streamID(n), fmt.Sprint("app-", n%1000), fmt.Appendf(nil, "handle %016x, first bytes %024x", n, a)
				if err := s.Append(ctx, b); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	for _, when := range []string{"when they came", "after a restart"} {
		known := heap()
		peak := greetAll(t, s, agents, streams/agents)
		t.Logf("%s: %d MiB for %d streams, %d MiB with %d greetings", when, (known-before)>>20, streams, (peak-before)>>20, agents)
		if peak-before > most {
			t.Errorf("%s: %d MiB", when, (peak-before)>>20)
		}
		if err := s.Close(ctx); err != nil {
			t.Fatal(err)
		}
		s = begin()
	}
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// greetAll writes agents' welcomes side by side and returns the memory in use
// when all of them are half done.
func greetAll(t *testing.T, s *Sink, agents, streams int) (peak uint64) {
	t.Helper()
	var all, half sync.WaitGroup
	release := make(chan struct{})
	half.Add(agents)
	for a := range agents {
		all.Go(func() {
			read, write := io.Pipe()
			go func() { // ends with the welcome
				frames := 0
				for frame := range wire.WelcomeFrames(s.Welcome(fmt.Sprint("agent-", a)), 0) {
					if frames++; frames == 50 {
						half.Done()
						<-release
					}
					write.Write(frame)
				}
				write.Close()
			}()
			got := 0
			d := wire.NewDecoder(read)
			var f wire.Frame
			for d.Next(&f) == nil {
				got += len(f.Streams)
			}
			if got != streams {
				t.Errorf("agent %d was told %d streams, want %d", a, got, streams)
			}
		})
	}
	half.Wait()
	peak = heap()
	close(release)
	all.Wait()
	return peak
}
