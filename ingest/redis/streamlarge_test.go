package redis

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"fanin/internal/redistest"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// extensions remembers those of the batches that a log in memory keeps.
type extensions struct {
	mu     sync.Mutex
	values map[wire.ExtensionKind]map[string][]byte
}

// of has x remember what m keeps.
func (x *extensions) of(m *appendertest.Memory) {
	x.values = make(map[wire.ExtensionKind]map[string][]byte)
	m.After = func(_ context.Context, b wire.Batch, err error) error {
		x.mu.Lock()
		defer x.mu.Unlock()
		for _, e := range b.Extensions {
			if x.values[e.Kind] == nil {
				x.values[e.Kind] = make(map[string][]byte)
			}
			if err == nil {
				x.values[e.Kind][e.Name] = bytes.Clone(e.Value)
			}
		}
		return err
	}
}

func (x *extensions) remembered(kind wire.ExtensionKind) map[string][]byte {
	x.mu.Lock()
	defer x.mu.Unlock()
	all := make(map[string][]byte)
	for name, value := range x.values[kind] {
		all[name] = value
	}
	return all
}

// TestStreamLargeIDs: ids of all kinds, and also those that do not fit into a witness, are told apart
// over restarts.
func TestStreamLargeIDs(t *testing.T) {
	s := redistest.New(t)
	m := new(appendertest.Memory)
	x := new(extensions)
	x.of(m)
	options := func(n *Input) { streamOf(n); n.Remembered = x.remembered }
	want := ""
	send := func(id string) {
		s.Do("XADD", "logs", id, "message", "entry "+id)
		want += "entry " + id + "\n"
	}
	ids := []string{"0-1", "0-2", "1-1", "1-1048576", "1-9000000000000", "1-9000000000001", "2-5", "1700000000000-0",
		"1700000000000-1048575", "1700000000000-1048576", "1700000000000-1048577", "1700000000001-0"}
	nanoseconds := uint64(1_700_000_000_123_456_789)
	for i := range uint64(10) {
		ids = append(ids, fmt.Sprintf("%d-0", nanoseconds+i))
	}
	top := strconv.FormatUint(math.MaxUint64, 10)
	ids = append(ids, top+"-0", top+"-"+strconv.FormatUint(math.MaxUint64-1, 10))
	for i, id := range ids {
		send(id)
		if i%3 == 1 {
			continue
		}
		c := collect(t, s, m, options)
		c.wait(t, want)
		if said := c.said(); said != "" {
			t.Errorf("at %s it reported %s", id, said)
		}
		c.stop()
	}
}

// TestStreamLargeIDsKilled: the same, while the log fails now and then.
func TestStreamLargeIDsKilled(t *testing.T) {
	s := redistest.New(t)
	m := new(appendertest.Memory)
	x := new(extensions)
	x.of(m)
	unreliable(m)
	remember := m.After
	x.of(m)
	after := m.After
	m.After = func(ctx context.Context, b wire.Batch, err error) error { return remember(ctx, b, after(ctx, b, err)) }
	want := ""
	now := uint64(time.Now().UnixNano())
	for range 20 {
		for range 20 {
			now += uint64(rand.IntN(1000) + 1)
			line := fmt.Sprintf("entry %d", now)
			s.Do("XADD", "logs", fmt.Sprintf("%d-0", now), "message", line)
			want += line + "\n"
		}
		c := collect(t, s, m, func(n *Input) { streamOf(n); n.Remembered = x.remembered })
		if rand.IntN(2) == 0 {
			c.wait(t, want)
		}
		c.stop()
	}
	c := collect(t, s, m, func(n *Input) { streamOf(n); n.Remembered = x.remembered })
	c.wait(t, want)
}
