package sequence

import (
	"bytes"
	"context"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

func newSequence(t *testing.T, out wire.Appender) *Sequence {
	t.Helper()
	s := New(out, wire.Batch{Kind: wire.StreamNATS, Stream: wire.StreamID{7}, Input: "nats", Agent: "nats:LOGS", Host: "nats", Source: "LOGS"})
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// add appends one entry, as an input does.
func add(t *testing.T, s *Sequence, e Entry, text string) error {
	t.Helper()
	var b wire.Batch
	var end wire.Point
	for chunk, at := range s.Chunks(e, []byte(text), 0) {
		if len(b.Text) > 0 {
			b.Cuts = append(b.Cuts, wire.Cut{Text: len(b.Text), End: end.Offset, After: end.Tail})
		}
		b.Text, end = append(b.Text, chunk...), at
	}
	if len(b.Text) == 0 {
		return nil
	}
	return s.Append(t.Context(), &b, end)
}

// TestRecords pins what is stored: streams that exist must continue.
func TestRecords(t *testing.T) {
	var got []wire.Batch
	record := appender(func(_ context.Context, b wire.Batch) error {
		b.Time = 0
		b.Text = bytes.Clone(b.Text)
		got = append(got, b)
		return nil
	})
	s := newSequence(t, record)
	if err := add(t, s, Entry{5, At(time.Unix(1700000000, 123))}, "one\n"); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(t.Context(), Entry{2, At(time.Unix(1700000001, 0))}); err != nil {
		t.Fatal(err)
	}
	stream := wire.Batch{Kind: wire.StreamNATS, Stream: wire.StreamID{7}, Epoch: 1, Input: "nats", Agent: "nats:LOGS", Host: "nats"}
	open := stream
	open.Op, open.Source, open.Identity = wire.OpOpen, "LOGS", []byte("LOGS")
	data := stream
	data.End, data.After, data.Text = 6<<16, 1700000000000000123, []byte("one\n")
	again := open
	again.Epoch, again.Offset, again.End = 2, 2<<16, 2<<16
	again.Before, again.After = data.After, data.After
	if want := []wire.Batch{open, data, again}; !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

type appender func(ctx context.Context, b wire.Batch) error

func (f appender) Append(ctx context.Context, b wire.Batch) error { return f(ctx, b) }

// TestResume: a sequence continues where the log is, within an entry, too.
func TestResume(t *testing.T) {
	m := new(appendertest.Memory)
	first, long := Entry{3, At(time.Unix(100, 0))}, Entry{4, At(time.Unix(101, 0))}
	text := strings.Repeat("x\n", 3*wire.MaxCutLines)
	if err := add(t, newSequence(t, m), first, "first\n"); err != nil {
		t.Fatal(err)
	}
	m.Before = func(_ context.Context, b wire.Batch) error {
		if len(b.Cuts) == 0 {
			return nil
		}
		c := b.Cuts[0] // the collector dies when it has committed one chunk
		b.Text, b.Cuts, b.End, b.After = b.Text[:c.Text], nil, c.End, c.After
		return errors.Join(m.Append(context.Background(), b), errors.New("killed"))
	}
	if err := add(t, newSequence(t, m), long, text); err == nil {
		t.Fatal("not killed")
	}
	m.Before = nil
	s := newSequence(t, m)
	if got := []State{s.State(first), s.State(long)}; got[0] != Repeated || got[1] != Missing || s.Last() != 3 {
		t.Errorf("states are %v, the last entry %d", got, s.Last())
	}
	for range 2 {
		if err := add(t, s, long, text); err != nil {
			t.Fatal(err)
		}
	}
	if got := string(m.Text(s.ID())); got != "first\n"+text {
		t.Errorf("the log has %d bytes, want %d", len(got), len("first\n"+text))
	}
	if s.State(long) != Repeated || s.Last() != 4 {
		t.Errorf("the last entry is %d", s.Last())
	}
}

// TestReused: a number that comes again with a later witness is a new entry. With the same
// witness, or an earlier one, it is a repeat.
func TestReused(t *testing.T) {
	m := new(appendertest.Memory)
	s := newSequence(t, m)
	for n := uint64(1); n <= 3; n++ {
		if err := add(t, s, Entry{n, Witness(10 * n)}, "old\n"); err != nil {
			t.Fatal(err)
		}
	}
	for e, want := range map[Entry]State{{1, 10}: Repeated, {3, 30}: Repeated, {2, 31}: Reused, {4, 31}: Missing, {4, 5}: Missing, {2, 0}: Repeated} {
		if got := s.State(e); got != want {
			t.Errorf("%+v: %d, want %d", e, got, want)
		}
	}
	e := Entry{2, 31}
	if err := s.Restart(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if s.State(e) != Missing {
		t.Error("the new entry is not missing after the restart")
	}
	if err := add(t, s, e, "new\n"); err != nil {
		t.Fatal(err)
	}
	if got := string(m.Text(s.ID())); got != "old\nold\nold\nnew\n" {
		t.Errorf("the log has %q", got)
	}
	if again := newSequence(t, m); again.State(e) != Repeated || again.State(Entry{3, 40}) != Missing {
		t.Error("the new epoch is not the log's")
	}
}

// TestNumber: entries that have a witness only, as in Redis, are each in the log once, in
// order, whatever is repeated and wherever the collector dies.
func TestNumber(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		m := new(appendertest.Memory)
		var want strings.Builder
		texts := []string{"a\n", "bb\n", strings.Repeat("c\n", wire.MaxCutLines+1), "d\n"}
		for i, text := range texts {
			w, ok := Pair(uint64(1_700_000_000_000+i/2), uint64(i%2))
			if !ok {
				r.Fatal("the id does not fit")
			}
			want.WriteString(text)
			killed := rapid.Bool().Draw(r, "killed")
			m.Before = func(_ context.Context, b wire.Batch) error {
				if !killed || len(b.Cuts) == 0 {
					return nil
				}
				killed = false
				c := b.Cuts[0]
				b.Text, b.Cuts, b.End, b.After = b.Text[:c.Text], nil, c.End, c.After
				return errors.Join(m.Append(context.Background(), b), errors.New("killed"))
			}
			for done := false; !done; {
				s := newSequence(t, m)
				for j := range rapid.IntRange(0, i).Draw(r, "repeats") {
					old, _ := Pair(uint64(1_700_000_000_000+j/2), uint64(j%2))
					if _, repeated := s.Number(old); !repeated {
						r.Fatalf("entry %d is not known any more", j)
					}
				}
				e, repeated := s.Number(w)
				done = repeated || add(t, s, e, text) == nil
			}
		}
		if got := string(m.Text(wire.StreamID{7})); got != want.String() {
			r.Fatalf("the log has %d bytes, want %d", len(got), want.Len())
		}
	})
}

func TestPair(t *testing.T) {
	ids := []struct {
		first, second uint64
		ok            bool
	}{{0, 0, true}, {0, 1<<43 - 1, true}, {0, 1 << 43, false}, {1, 5, true}, {1<<20 - 1, 1<<43 - 1, true}, {1<<20 - 1, math.MaxUint64, false},
		{1 << 20, 0, true}, {1_700_000_000_000, 5, true}, {1_700_000_000_000, 1 << 20, false}, {1_700_000_000_001, 0, true},
		{1<<43 - 1, 1<<20 - 1, true}, {1 << 43, 0, false}, {math.MaxUint64, math.MaxUint64, false}}
	last := Witness(0)
	for _, c := range ids {
		w, ok := Pair(c.first, c.second)
		if ok != c.ok || w < last {
			t.Errorf("%d-%d: %v, and %x behind %x", c.first, c.second, ok, w, last)
		}
		last = w
		if a, b := w.Split(); ok && (a != c.first || b != c.second) {
			t.Errorf("%d-%d became %d-%d", c.first, c.second, a, b)
		}
	}
}

// TestRewind: in the new epoch, entries with the witnesses of earlier ones are new.
func TestRewind(t *testing.T) {
	m := new(appendertest.Memory)
	s := newSequence(t, m)
	for n := uint64(1); n <= 3; n++ {
		if err := add(t, s, Entry{n, Witness(10 * n)}, "old\n"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Rewind(t.Context(), 2, 5); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Sequence{s, newSequence(t, m)} {
		if s.Last() != 1 || s.Witness() != 5 || s.Partial() {
			t.Errorf("the log has entry %d with the witness %d", s.Last(), s.Witness())
		}
	}
	if err := add(t, s, Entry{2, 10}, "new\n"); err != nil {
		t.Fatal(err)
	}
	if s := newSequence(t, m); s.Last() != 2 || s.Witness() != 10 {
		t.Errorf("the log has entry %d with the witness %d", s.Last(), s.Witness())
	}
	if got := string(m.Text(s.ID())); got != "old\nold\nold\nnew\n" {
		t.Errorf("the log has %q", got)
	}
}

// TestNumberAfterLoss: when the source removed the rest of an entry that the log has in part, the next
// entry is in the log completely.
func TestNumberAfterLoss(t *testing.T) {
	m := new(appendertest.Memory)
	s := newSequence(t, m)
	partial := wire.Batch{Text: []byte("half\n")}
	if err := s.Append(t.Context(), &partial, wire.Point{Offset: 1, Tail: 10}); err != nil {
		t.Fatal(err)
	}
	e, repeated := s.Number(11)
	if repeated {
		t.Fatal("a new entry counts as repeated")
	}
	if err := add(t, s, e, "next\n"); err != nil {
		t.Fatal(err)
	}
	if got := string(m.Text(s.ID())); got != "half\nnext\n" {
		t.Errorf("the log has %q", got)
	}
}
