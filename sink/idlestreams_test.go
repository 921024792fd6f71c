package sink

import (
	"context"
	"fmt"
	"testing"

	"fanin/internal/wire"
)

// TestIdleStreams: 100,000 streams of which nothing comes add nothing to a commit: neither memory, nor
// what the next checkpoint writes.
func TestIdleStreams(t *testing.T) {
	type cost struct {
		allocs     float64
		checkpoint int // bytes of entries
		changed    int // streams
	}
	measure := func(idle int) (c cost) {
		s := open(t, &Sink{Sync: syncNone, env: environment{walSize: 64 << 20}})
		one := newSource()
		if err := one.open(s); err != nil {
			t.Fatal(err)
		}
		err := s.do(context.Background(), func(w *writer) error {
			s.view.mu.Lock()
			for n := range idle {
				st := &stream{id: streamID(n + 1000)}
				(&names{kind: wire.StreamAgent, own: st.id, agent: fmt.Sprint("agent-", n%1000), host: "host"}).nameStream(st)
				w.catalog.addStream(st)
			}
			s.view.mu.Unlock()
			if err := w.checkpoint(); err != nil {
				return err
			}
			r := &request{outcome: make(chan error, 1)}
			at := int64(0)
			c.allocs = testing.AllocsPerRun(1000, func() {
				b := wire.Batch{Agent: "a", Stream: one.id, Epoch: 1, Offset: at, End: at + 2, Before: wire.Hash(at), After: wire.Hash(at + 2), Text: []byte("x\n")}
				if at == 0 {
					b.Before = wire.TailHash(nil)
				}
				at += 2
				r.batch = &b
				if err := w.accept(r); err != nil {
					t.Fatal(err)
				}
				if err := w.commit(); err != nil {
					t.Error(err)
				}
				if err := <-r.outcome; err != nil {
					t.Error(err)
				}
			})
			c.changed = len(w.catalog.dirty)
			c.checkpoint = len(w.capture().entries)
			return w.checkpoint()
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	few, many := measure(0), measure(100_000)
	t.Logf("%+v, with many %+v", few, many)
	if many.allocs > few.allocs || many.changed != 1 || many.checkpoint != few.checkpoint {
		t.Errorf("a commit costs %+v, with 100,000 idle streams beside it %+v", few, many)
	}
}
