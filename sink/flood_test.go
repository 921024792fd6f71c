package sink

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fanin/internal/wire"
)

// TestFlood: while more batches wait than fit into a group, and each group is committed in the middle of a batch, the
// writer comes to what else it has to do: here to a call, as of a rotation or of the end of the sink.
func TestFlood(t *testing.T) {
	for name, kind := range map[string]wire.StreamKind{"agents": wire.StreamAgent, "plain": wire.StreamLossy} {
		t.Run(name, func(t *testing.T) {
			s := open(t, &Sink{Sync: syncNone})
			text := bytes.Repeat([]byte("as long as a line of a log is, more or less\n"), groupBytes/16/44+1)
			var ended atomic.Bool
			var senders sync.WaitGroup
			for n := range 200 {
				senders.Go(func() { // ends with ended
					flood(t, s, kind, n, text, &ended)
				})
			}
			defer senders.Wait()
			defer ended.Store(true)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			for s.counts.commits.Load() < 10 && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			for range 3 {
				if err := s.do(ctx, func(*writer) error { return nil }); err != nil {
					t.Fatalf("after %d commits: %v", s.counts.commits.Load(), err)
				}
			}
		})
	}
}

// flood appends batches of a stream, one behind the other, until it has ended.
func flood(t *testing.T, s *Sink, kind wire.StreamKind, n int, text []byte, ended *atomic.Bool) {
	b := wire.Batch{Kind: kind, Stream: streamID(n), Epoch: 1, Agent: "a", Host: "h", Source: "s", Input: "agent"}
	if kind == wire.StreamAgent {
		b.Op = wire.OpOpen
		must(t, s.Append(context.Background(), b))
	}
	for b.Op = wire.OpData; !ended.Load(); b.Offset = b.End {
		b.End, b.Before = b.Offset+int64(len(text)), b.After
		b.After, b.Text = wire.Hash(b.End), text
		if err := s.Append(context.Background(), b); err != nil {
			t.Error(err)
			return
		}
	}
}
