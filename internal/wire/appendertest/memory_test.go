package appendertest_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

func TestMemory(t *testing.T) {
	appendertest.Run(t, func(*testing.T) wire.Appender { return new(appendertest.Memory) })
}

func TestMemoryLossy(t *testing.T) {
	appendertest.RunLossy(t, func(*testing.T) wire.Appender { return new(appendertest.Memory) })
}

// A keeper whose answers get lost, before or after the commit, still keeps its promise.
func TestMemoryThatFails(t *testing.T) {
	appendertest.Run(t, func(*testing.T) wire.Appender {
		var before, after atomic.Int64
		return &appendertest.Memory{
			Before: func(_ context.Context, b wire.Batch) error {
				if !b.Stream.IsZero() && before.Add(1)%3 == 0 {
					return errors.New("not connected")
				}
				return nil
			},
			After: func(_ context.Context, b wire.Batch, outcome error) error {
				if !b.Stream.IsZero() && after.Add(1)%4 == 0 {
					return errors.New("the connection broke before the answer")
				}
				return outcome
			},
		}
	})
}

func open(id wire.StreamID, source string) wire.Batch {
	return wire.Batch{Op: wire.OpOpen, Stream: id, Agent: "web-1", Source: source, Control: wire.Control{Identity: []byte("inode 7")}}
}

func data(id wire.StreamID, offset, end int64, text string) wire.Batch {
	hash := func(at int64) wire.Hash { return wire.Hash(at * 1000) }
	return wire.Batch{Stream: id, Agent: "web-1", Offset: offset, End: end, Before: hash(offset), After: hash(end), Text: []byte(text)}
}

func TestMemoryTells(t *testing.T) {
	m := &appendertest.Memory{Log: wire.NewStreamID(), Incarnation: wire.NewStreamID()}
	one, two := wire.NewStreamID(), wire.NewStreamID()
	first := data(one, 0, 4, "a\nb\n")
	for _, b := range []wire.Batch{open(one, "nginx"), open(two, "app"), first, first, data(two, 0, 2, "c\n"), data(one, 4, 6, "d\n")} {
		if err := m.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if got := m.Lines(one); !slices.Equal(got, []string{"a", "b", "d"}) {
		t.Errorf("lines of the first stream: %q", got)
	}
	if got := m.SourceLines("app"); !slices.Equal(got, []string{"c"}) {
		t.Errorf("lines of app: %q", got)
	}
	if got := m.Repeats(); got != 1 {
		t.Errorf("%d repeats, want 1", got)
	}
	if got := len(m.Kept()); got != 5 {
		t.Errorf("%d batches kept, want 5", got)
	}
	w := m.Welcome("web-1")
	if len(w.Streams) != 2 || w.Log != m.Log || w.Streams[0].Stream != one || w.Streams[0].Offset != 6 ||
		w.Streams[0].Source != "nginx" || !bytes.Equal(w.Streams[0].Identity, []byte("inode 7")) {
		t.Errorf("welcome %+v", w)
	}
	if got := m.Welcome("web-2"); len(got.Streams) != 0 {
		t.Errorf("another agent's welcome: %+v", got)
	}
	m.Forget()
	if _, known := m.State(one); known || len(m.Lines(one)) != 3 {
		t.Error("Forget must lose the watermarks and keep the lines")
	}
}

func TestMemoryOwners(t *testing.T) {
	appendertest.RunOwners(t, func(*testing.T) wire.Appender { return new(appendertest.Memory) })
}

func TestMemoryCountsGaps(t *testing.T) {
	m := new(appendertest.Memory)
	id := wire.NewStreamID()
	for _, first := range []int64{0, 1, 5} {
		b := data(id, first*2, first*2+2, "x\n")
		b.Kind, b.FirstLine = wire.StreamLossy, first
		if err := m.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if m.Gap() != 3 || m.Repeats() != 0 {
		t.Errorf("gap %d, repeats %d, want 3 and 0", m.Gap(), m.Repeats())
	}
}

func TestMemoryUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(appendertest.Memory)
		id := wire.NewStreamID()
		reached := make(chan error, 1)
		go func() { // ends when the second line is kept
			reached <- m.Until(t.Context(), func() bool { return len(m.Lines(id)) == 2 })
		}()
		for _, b := range []wire.Batch{open(id, "x"), data(id, 0, 2, "1\n"), data(id, 2, 4, "2\n")} {
			synctest.Wait()
			if len(reached) > 0 {
				t.Fatal("Until returned too early")
			}
			if err := m.Append(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-reached; err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := m.Until(ctx, func() bool { return false }); !errors.Is(err, context.Canceled) {
			t.Fatalf("%v, want the context's error", err)
		}
	})
}

func TestMemoryKeys(t *testing.T) {
	appendertest.RunKeys(t, func(*testing.T) wire.Appender { return new(appendertest.Memory) })
}
