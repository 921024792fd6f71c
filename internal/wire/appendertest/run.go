package appendertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"fanin/internal/wire"
)

// Run tests the promise of wire.Appender. new makes one that has no stream yet and
// cleans up after itself by t.Cleanup; each test asks for one.
//
// An Appender that also has the methods Text and Shown, as Memory has, is asked what
// it kept; of others only the answers are checked. See Observe.
func Run(t *testing.T, new func(t *testing.T) wire.Appender) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, a wire.Appender)
	}{
		{"an unknown stream must be opened first", unknownStream},
		{"an open is answered, and may be repeated", open},
		{"a stream may begin anywhere", openAtBase},
		{"an open that does not fit is answered with the position", openElsewhere},
		{"data in order is kept", inOrder},
		{"data that does not fit is answered with the position", elsewhere},
		{"a repeat is acknowledged and kept once", repeats},
		{"a batch may have cuts", cuts},
		{"labels change at marks", marks},
		{"a batch that is divided keeps its labels", dividedMarks},
		{"each line may have labels of its own", manyMarks},
		{"a trail has earlier positions of the stream", trail},
		{"a skip moves the stream", skip},
		{"a new epoch begins by an open alone", newEpoch},
		{"an end forgets the stream", end},
		{"what is refused stays refused and moves nothing", refused},
		{"the text belongs to the caller after the return", textReused},
		{"streams do not disturb each other", concurrent},
		{"a batch that was cancelled may be sent again", cancelled},
		{"anonymous lines are kept or refused", anonymous},
		{"batches may be sent as chains", chains},
		{"nothing is accepted behind what is not", chainBroken},
		{"a chain may be repeated", chainRepeated},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, new(t)) })
	}
}

func unknownStream(t *testing.T, a wire.Appender) {
	s := newSource(t, a)
	s.unknown(s.batch(1))
	skip := s.op(wire.OpSkip)
	skip.End, skip.After, skip.Reason = 10, 1, "gone"
	s.unknown(skip)
	s.acked(s.op(wire.OpEnd)) // it may be the repeat of one whose ack was lost
	s.unknown(s.batch(1))
	s.opened().send(1)
	s.kept()
}

func open(t *testing.T, a wire.Appender) {
	s := newSource(t, a).opened()
	s.stands()
	s.opened()
	s.send(3)
	s.opened() // after a reconnect, at the same place
	renamed := s.op(wire.OpOpen)
	renamed.Source, renamed.Identity = "renamed", []byte("the same file, grown")
	s.acked(renamed)
	s.stands()
	s.send(2)
	s.kept()
}

func openAtBase(t *testing.T, a wire.Appender) {
	s := newSource(t, a)
	s.raw = []byte("these bytes were there before anybody looked\n")
	s.opened().stands()
	s.send(2)
	s.stands()
	s.kept()
}

func openElsewhere(t *testing.T, a wire.Appender) {
	s := newSource(t, a).opened()
	s.send(2)
	for what, change := range map[string]func(b *wire.Batch){
		"an earlier offset": func(b *wire.Batch) { b.Offset, b.End = 0, 0; b.Before, b.After = 0, 0 },
		"a later offset":    func(b *wire.Batch) { b.Offset++; b.End++ },
		"another past":      func(b *wire.Batch) { b.Before++; b.After++ },
		"two epochs ahead":  func(b *wire.Batch) { b.Epoch += 2 },
	} {
		b := s.op(wire.OpOpen)
		change(&b)
		t.Log(what)
		s.nacked(b)
	}
	s.send(1)
	s.kept()
}

func inOrder(t *testing.T, a wire.Appender) {
	s := newSource(t, a).opened()
	for n := 1; n < 40; n++ {
		s.send(n)
	}
	s.stands()
	s.kept()
}

func elsewhere(t *testing.T, a wire.Appender) {
	s := newSource(t, a).opened()
	s.send(2)
	for what, change := range map[string]func(b *wire.Batch){
		"a gap":             func(b *wire.Batch) { b.Offset++ },
		"an overlap":        func(b *wire.Batch) { b.Offset-- },
		"another past":      func(b *wire.Batch) { b.Before++ },
		"the epoch to come": func(b *wire.Batch) { b.Epoch++ },
	} {
		b := s.batch(3)
		change(&b)
		t.Log(what)
		s.nacked(b)
	}
	s.send(3)
	s.stands()
	s.kept()
}

func repeats(t *testing.T, a wire.Appender) {
	s := newSource(t, a).opened()
	first := s.send(2)
	s.acked(first)
	second := s.send(3)
	s.acked(second)
	s.acked(second)
	s.nacked(first) // kept, but not the latest batch: the caller learns the stream's position
	other := second
	other.After++ // ends at the stream's position, but with another hash
	s.nacked(other)
	s.send(1)
	s.kept()
}

func cuts(t *testing.T, a wire.Appender) {
	s := newSource(t, a).opened()
	whole := s.batch(5)
	step := *s
	step.to, step.raw, step.text, step.shown = nil, append([]byte(nil), s.raw...), nil, nil
	text := 0
	for range 4 {
		part := step.batch(1)
		step.took(part)
		text += len(part.Text)
		whole.Cuts = append(whole.Cuts, wire.Cut{Text: text, End: part.End, After: part.After})
	}
	s.acked(whole)
	s.took(whole)
	s.acked(whole)
	s.stands()
	s.send(1)
	s.kept()
}

func trail(t *testing.T, a wire.Appender) {
	s := newSource(t, a).opened()
	at := map[int64]wire.Hash{0: 0}
	for range 20 {
		b := s.send(1500)
		at[b.End] = b.After
	}
	probe := s.batch(1)
	probe.Before++
	e := s.nacked(probe)
	if len(e.Trail) > wire.MaxTrail {
		t.Fatalf("a trail of %d points, at most %d", len(e.Trail), wire.MaxTrail)
	}
	last := int64(-1)
	for _, p := range e.Trail {
		if tail, ok := at[p.Offset]; !ok || tail != p.Tail || p.Offset <= last || p.Offset >= e.Offset {
			t.Fatalf("trail %v: offset %d with tail %x is no earlier place of the stream, in order", e.Trail, p.Offset, p.Tail)
		}
		last = p.Offset
	}
	// The bytes changed and are as many as before: none of those places is in them.
	s.epoch, s.raw = s.epoch+1, bytes.Repeat([]byte("x"), len(s.raw))
	probe = s.opened().batch(1)
	probe.Before++
	if e := s.nacked(probe); len(e.Trail) > 0 {
		t.Fatalf("a new epoch has the trail %v", e.Trail)
	}
}

func skip(t *testing.T, a wire.Appender) {
	s := newSource(t, a).opened()
	s.send(1)
	skip := s.op(wire.OpSkip)
	s.raw = append(s.raw, "these bytes are gone for good"...)
	skip.End, skip.After, skip.Reason = int64(len(s.raw)), wire.TailHash(s.raw), "source gone"
	far := skip
	far.Offset++
	before := *s
	before.raw = s.raw[:skip.Offset]
	before.nacked(far)
	s.acked(skip)
	s.acked(skip)
	s.stands()
	s.send(2)
	s.nacked(skip)
	s.kept()
}

func newEpoch(t *testing.T, a wire.Appender) {
	s := newSource(t, a).opened()
	old := s.send(5)
	early := s.batch(1)
	early.Epoch++
	s.nacked(early)
	s.epoch, s.raw = s.epoch+1, []byte("what is left of it\n")
	s.opened().opened().stands()
	s.nacked(old)
	first := s.send(2)
	s.acked(first)
	back := s.op(wire.OpOpen)
	back.Epoch--
	s.nacked(back)
	s.stands()
	s.kept()
}

func end(t *testing.T, a wire.Appender) {
	s := newSource(t, a).opened()
	b := s.send(2)
	early := s.op(wire.OpEnd)
	early.Offset, early.End, early.Before, early.After = 0, 0, 0, 0
	s.nacked(early)
	s.acked(s.op(wire.OpEnd))
	s.acked(s.op(wire.OpEnd))
	s.unknown(b)
	s.unknown(s.batch(1))
	s.kept()
}

func refused(t *testing.T, a wire.Appender) {
	s := newSource(t, a).opened()
	s.send(1)
	for what, b := range unfit(s) {
		for range 2 {
			if err := s.settle(b); !errors.Is(err, wire.ErrRefused) {
				t.Fatalf("%s: %v, want wire.ErrRefused", what, err)
			}
		}
	}
	s.stands()
	s.send(1)
	s.kept()
}

// unfit is batches that every Appender refuses, though their position is right.
func unfit(s *source) map[string]wire.Batch {
	change := func(b wire.Batch, f func(b *wire.Batch)) wire.Batch { f(&b); return b }
	return map[string]wire.Batch{
		"no text":               change(s.batch(1), func(b *wire.Batch) { b.Text = nil }),
		"half a line":           change(s.batch(2), func(b *wire.Batch) { b.Text = b.Text[:len(b.Text)-1] }),
		"offsets run backwards": change(s.batch(1), func(b *wire.Batch) { b.End = b.Offset - 1 }),
		"an unknown operation":  change(s.op(wire.OpEnd), func(b *wire.Batch) { b.Op++ }),
		"a skip with text":      change(s.op(wire.OpSkip), func(b *wire.Batch) { b.Text = []byte("text\n") }),
		"an open over bytes":    change(s.op(wire.OpOpen), func(b *wire.Batch) { b.End++ }),
		"an endless source":     change(s.op(wire.OpOpen), func(b *wire.Batch) { b.Source = string(make([]byte, wire.MaxName+1)) }),
		"too much text": change(s.batch(1), func(b *wire.Batch) {
			b.Text = make([]byte, wire.MaxText+1)
			b.Text[wire.MaxText] = '\n'
		}),
		"a cut within a line":  change(s.batch(2), func(b *wire.Batch) { b.Cuts = []wire.Cut{{Text: 1, End: b.End}} }),
		"a mark within a line": change(s.batch(2), func(b *wire.Batch) { b.Marks = []wire.Mark{{Text: 1}} }),
		"a mark at the end":    change(s.batch(2), func(b *wire.Batch) { b.Marks = []wire.Mark{{Text: len(b.Text)}} }),
		"the collector's own source": change(s.batch(2), func(b *wire.Batch) {
			b.Marks = []wire.Mark{{Labels: wire.Labels{Source: wire.SourceNotice}}}
		}),
	}
}

func textReused(t *testing.T, a wire.Appender) {
	s := newSource(t, a).opened()
	block := make([]byte, 0, 64<<10)
	for range 20 {
		b := s.batch(10)
		block = append(block[:0], b.Text...)
		s.took(b)
		b.Text = block
		s.acked(b)
		for i := range block {
			block[i] = 'X' // under -race, an Appender that still reads is caught
		}
	}
	s.stands()
	s.kept()
}

func concurrent(t *testing.T, a wire.Appender) {
	var all sync.WaitGroup
	sources := make([]*source, 16)
	for i := range sources {
		sources[i] = newSource(t, a)
		all.Go(func() { // ends with its last batch
			if err := sources[i].pour(20); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, s := range sources {
		s.stands()
		s.kept()
	}
}

// pour opens the stream and sends n batches and a repeat of each. Unlike send,
// it may run on any goroutine.
func (s *source) pour(n int) error {
	if err := s.settle(s.op(wire.OpOpen)); err != nil {
		return fmt.Errorf("stream %s: open: %w", s.id, err)
	}
	for i := range n {
		b := s.batch(1 + i%7)
		for range 2 {
			if err := s.settle(b); err != nil {
				return fmt.Errorf("stream %s: %s: %w", s.id, describe(b), err)
			}
		}
		s.took(b)
	}
	return nil
}

func cancelled(t *testing.T, a wire.Appender) {
	s := newSource(t, a).opened()
	for i := range 20 {
		b := s.batch(3)
		ctx, cancel := context.WithCancel(t.Context())
		if i%2 == 0 {
			cancel()
		} else {
			go cancel() // ends at once; at some moment of the Append, or after it
		}
		// Nil or not: sent again, the batch is kept once.
		if err := a.Append(ctx, b); errors.Is(err, wire.ErrRefused) {
			t.Fatalf("%s, given up: %v; that says it would never be taken", describe(b), err)
		}
		cancel()
		s.acked(b)
		s.took(b)
		if i%5 == 0 {
			s.stands()
		}
	}
	s.kept()
}

func anonymous(t *testing.T, a wire.Appender) {
	b := wire.Batch{Input: "test", Host: "host", Source: "source", Time: 1, Text: []byte("a line\nanother\n")}
	first := a.Append(t.Context(), b)
	if first != nil && !errors.Is(first, wire.ErrRefused) {
		t.Fatalf("anonymous lines: %v, want nil, or wire.ErrRefused of one that takes streams only", first)
	}
	second := a.Append(t.Context(), b)
	if (first == nil) != (second == nil) {
		t.Fatalf("the same anonymous lines: first %v, then %v", first, second)
	}
	if k, ok := a.(interface{ Text(wire.StreamID) []byte }); ok && first == nil {
		if got := string(k.Text(wire.StreamID{})); got != "a line\nanother\na line\nanother\n" {
			t.Fatalf("kept %q, want both batches", got)
		}
	}
}
