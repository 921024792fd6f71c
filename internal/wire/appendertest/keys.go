package appendertest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"

	"fanin/internal/wire"
)

// request is a request with a key, of numbered records.
type request struct {
	t    *testing.T
	to   wire.Appender
	id   wire.StreamID
	name string
	size int // records
}

func (r *request) text(from, to int) (text []byte) {
	for i := from; i < to; i++ {
		text = fmt.Appendf(text, "%s record %d\n", r.name, i)
	}
	return text
}

func (r *request) hash(record int) wire.Hash {
	if record == 0 {
		return 0
	}
	sum := sha256.Sum256(r.text(0, record))
	return wire.RecordHash(sum[:])
}

// batch holds the records from one to another.
func (r *request) batch(from, to int) wire.Batch {
	return wire.Batch{Kind: wire.StreamKey, Stream: r.id,
		Offset: int64(from), End: int64(to), Before: r.hash(from), After: r.hash(to),
		Time: time.Now().UnixMicro(), Input: "test", Host: "host", Source: "source", Text: r.text(from, to), Local: wire.Local{Key: &wire.Key{Content: r.hash(r.size)}, Address: "192.0.2.1"}}
}

// sent appends records, which must be acknowledged as new, or as a repeat.
func (r *request) sent(from, to int, repeat bool) {
	r.t.Helper()
	b := r.batch(from, to)
	if err := r.to.Append(r.t.Context(), b); err != nil || b.Key.Repeat != repeat || b.Key.MaybeDoubled {
		r.t.Fatalf("records %d to %d: %v, %+v; want repeat %v", from, to, err, *b.Key, repeat)
	}
}

// expected appends records, which must be answered by where the request stands, or by
// its not being known.
func (r *request) expected(from, to int, known bool, at int) {
	r.t.Helper()
	err := r.to.Append(r.t.Context(), r.batch(from, to))
	var e *wire.Expected
	if !errors.As(err, &e) || e.Known != known || known && (e.Offset != int64(at) || e.Tail != r.hash(at)) {
		r.t.Fatalf("records %d to %d: %v; want known %v, record %d", from, to, err, known, at)
	}
}

// RunKeys tests what a keeper promises for requests with a key.
func RunKeys(t *testing.T, new func(t *testing.T) wire.Appender) {
	begin := func(t *testing.T) *request {
		return &request{t: t, to: new(t), id: wire.KeyID("test", []byte("a key")), name: "first", size: 10}
	}
	t.Run("whole and again", func(t *testing.T) {
		r := begin(t)
		r.sent(0, 10, false)
		r.sent(0, 10, true)
		r.sent(0, 4, true)
		r.sent(4, 10, true)
	})
	t.Run("in parts and again", func(t *testing.T) {
		r := begin(t)
		r.sent(0, 3, false)
		r.sent(3, 6, false)
		r.sent(0, 3, true)
		r.expected(0, 10, true, 6)
		r.expected(8, 10, true, 6)
		r.sent(0, 6, true)
		r.sent(6, 10, false)
		r.sent(0, 10, true)
	})
	t.Run("without its beginning", func(t *testing.T) {
		r := begin(t)
		r.expected(3, 6, false, 0)
		r.sent(0, 3, false)
	})
	t.Run("other content", func(t *testing.T) {
		r := begin(t)
		r.sent(0, 10, false)
		other := *r
		other.name = "second"
		for _, b := range []wire.Batch{other.batch(0, 10), other.batch(0, 3), other.batch(9, 10)} {
			if err := r.to.Append(t.Context(), b); err != wire.ErrOtherContent || !errors.Is(err, wire.ErrRefused) {
				t.Fatalf("records %d to %d of other content: %v", b.Offset, b.End, err)
			}
		}
		r.sent(0, 10, true)
		other.id = wire.KeyID("test", []byte("another key"))
		other.sent(0, 10, false)
	})
	t.Run("hashes that contradict", func(t *testing.T) {
		r := begin(t)
		refused := func(b wire.Batch) {
			t.Helper()
			if err := r.to.Append(t.Context(), b); err != wire.ErrOtherContent {
				t.Fatalf("records %d to %d: %v", b.Offset, b.End, err)
			}
		}
		r.sent(0, 4, false)
		end, begin := r.batch(0, 4), r.batch(4, 7)
		end.After++
		begin.Before++
		refused(end)
		refused(begin)
		r.sent(4, 10, false)
		end = r.batch(0, 10)
		end.After++
		refused(end)
		more := r.batch(10, 12)
		refused(more)
		r.sent(0, 10, true)
	})
	t.Run("a stream of the same id", func(t *testing.T) {
		r := begin(t)
		r.sent(0, 10, false)
		s := newSource(t, r.to)
		s.id = r.id
		s.unknown(s.batch(1))
		s.opened().send(2)
		r.sent(0, 10, true)
	})
}
