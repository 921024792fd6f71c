package ingest

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"fanin/internal/wire"
)

// Lossy datagrams become one batch only where nothing is missing between them.
func TestFollows(t *testing.T) {
	first := wire.Batch{Kind: wire.StreamLossy, Stream: wire.StreamID{1}, Agent: "a", Host: "h", Source: "s", Epoch: 1,
		Offset: 10, End: 14, After: 5, FirstLine: 3, Text: []byte("x\ny\n")}
	f := func(change func(next *wire.Batch), want int) {
		t.Helper()
		q := newQueue(setUp(new(UDP)))
		q.put(key{stream: first.Stream}, first, 2)
		next := first
		next.Offset, next.End, next.Before, next.After, next.FirstLine = 14, 16, 5, 6, 5
		next.Text = []byte("z\n")
		change(&next)
		q.put(key{stream: first.Stream}, next, 1)
		got := q.filling.runs[key{stream: first.Stream}].batches
		if len(got) != want {
			t.Fatalf("%d batches, want %d", len(got), want)
		}
		if last := got[len(got)-1]; last.End != next.End || last.After != next.After || !bytes.HasSuffix(last.Text, []byte("z\n")) {
			t.Errorf("last batch %+v", last)
		}
		if got[0].Offset != 10 || got[0].FirstLine != 3 {
			t.Errorf("first batch %+v", got[0])
		}
	}
	f(func(*wire.Batch) {}, 1)
	f(func(b *wire.Batch) { b.Epoch++ }, 2)
	f(func(b *wire.Batch) { b.Offset++ }, 2)
	f(func(b *wire.Batch) { b.Before++ }, 2)
	f(func(b *wire.Batch) { b.FirstLine++ }, 2)
	f(func(b *wire.Batch) { b.Source = "t" }, 2)
}

func setUp(u *UDP) *UDP { u.setUp(); return u }

// Each host's lines stay in order while hosts take turns and blocks fill up.
func TestQueueOrder(t *testing.T) {
	k := newKeeper()
	u := setUp(&UDP{Out: k})
	q := newQueue(u)
	for i := range 9000 {
		host := fmt.Sprint("h", i%3)
		q.put(key{stream: wire.StreamID{byte(i%3 + 1)}}, wire.Batch{Host: host, Text: fmt.Appendf(nil, "%s %06d", host, i)}, 1)
	}
	q.close()
	q.give()
	last := map[string]string{}
	for line := range strings.Lines(k.kept()) {
		host, n, _ := strings.Cut(line, " ")
		if n <= last[host] {
			t.Fatalf("%s after %s", line, last[host])
		}
		last[host] = n
	}
	if n := strings.Count(k.kept(), "\n"); n != 9000 || q.room.Used() != 0 {
		t.Errorf("%d lines, %d bytes not given back", n, q.room.Used())
	}
}

// The kernel counts modulo 2^32.
func TestDropsWrap(t *testing.T) {
	u := setUp(new(UDP))
	d := &dropCounter{u: u, last: math.MaxUint32 - 1}
	d.count(3)
	if n := count(u.Metrics.kernelDrops); n != 5 {
		t.Errorf("counted %d, want 5", n)
	}
}
