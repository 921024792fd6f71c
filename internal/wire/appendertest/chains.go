package appendertest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"fanin/internal/wire"
)

// chain appends two batches: the second as soon as it may be, which is before the outcome of the
// first where the Appender keeps their order.
func (s *source) chain(a, b wire.Batch) (first, second error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	next, done := make(chan struct{}, 1), make(chan error, 1)
	a.Next = func() { next <- struct{}{} }
	go func() { done <- s.to.Append(ctx, a) }() // ends with the outcome
	select {
	case <-next:
		second = s.to.Append(ctx, b)
		first = <-done
	case first = <-done:
		second = s.to.Append(ctx, b)
	}
	return first, second
}

// decided reports whether an outcome is known.
func decided(err error) bool {
	return err == nil || errors.Is(err, wire.ErrRefused) || errors.As(err, new(*wire.Expected))
}

// settleChain is chain, but a batch whose outcome is not known is sent again alone.
func (s *source) settleChain(a, b wire.Batch) (first, second error) {
	if first, second = s.chain(a, b); !decided(first) {
		first = s.settle(a)
	}
	if !decided(second) {
		second = s.settle(b)
	}
	return first, second
}

// stream sends batches two at a time, as an agent does: after a failure it resumes where the
// stream is.
func (s *source) stream(list []wire.Batch) {
	s.t.Helper()
	list = slices.Clone(list)
	for tries := 0; len(list) > 0; tries++ {
		if tries > 200 {
			s.t.Fatalf("after %d tries %s is still to come", tries, describe(list[0]))
		}
		var first, second error
		if len(list) == 1 {
			first, second = s.settle(list[0]), errors.New("there is none")
		} else if first, second = s.chain(list[0], list[1]); !decided(first) {
			first, second = s.settle(list[0]), errors.New("the first one is sent again")
		}
		e := new(wire.Expected)
		switch {
		case first == nil && second == nil:
			list = list[2:]
		case first == nil:
			list = list[1:]
		case errors.As(first, &e):
			i := slices.IndexFunc(list, func(b wire.Batch) bool { return b.End == e.Offset && b.After == e.Tail })
			if i < 0 {
				s.t.Fatalf("%s: %v", describe(list[0]), first)
			}
			list = list[i+1:]
		default:
			s.t.Fatalf("%s: %v", describe(list[0]), first)
		}
	}
}

// batches is the next n batches, which the source counts as sent.
func (s *source) batches(n int) (list []wire.Batch) {
	for i := range n {
		b := s.batch(1 + i%5)
		s.took(b)
		list = append(list, b)
	}
	return list
}

func chains(t *testing.T, a wire.Appender) {
	s := newSource(t, a).opened()
	s.stream(s.batches(41))
	s.stands()
	s.kept()
}

// wants checks the outcomes of a chain: nil, wire.ErrRefused, or the stream's position.
func (s *source) wants(what string, a, b wire.Batch, refused bool) {
	s.t.Helper()
	first, second := s.settleChain(a, b)
	e := new(wire.Expected)
	if is := errors.Is(first, wire.ErrRefused); is != refused || !is && !errors.As(first, &e) {
		s.t.Fatalf("%s: the first batch: %v", what, first)
	}
	if !errors.As(second, &e) || e.Offset != int64(len(s.raw)) || e.Tail != wire.TailHash(s.raw) {
		s.t.Fatalf("%s: the batch behind it: %v, want the stream's position, %d", what, second, len(s.raw))
	}
}

// chainBroken: what is behind a batch that is not accepted is not accepted, either.
func chainBroken(t *testing.T, a wire.Appender) {
	s := newSource(t, a).opened()
	s.send(2)
	behind := *s
	behind.raw, behind.text, behind.shown = slices.Clone(s.raw), nil, nil
	first := behind.batch(3)
	behind.took(first)
	second := behind.batch(2)

	elsewhere, torn, reserved := first, first, first
	elsewhere.Before++
	torn.Text = first.Text[:len(first.Text)-1]
	reserved.Marks = []wire.Mark{{Labels: wire.Labels{Source: wire.SourceNotice}}}
	s.wants("it does not fit", elsewhere, second, false)
	s.wants("it is no whole line", torn, second, true)
	s.wants("it is refused", reserved, second, true)
	s.wants("it is the second one itself", second, second, false)
	s.stands()
	s.stream([]wire.Batch{first, second})
	s.took(first)
	s.took(second)
	s.stands()
	s.kept()
}

// chainRepeated: of two batches that are there, the first one is behind the stream's position, and
// the second one ends at it.
func chainRepeated(t *testing.T, a wire.Appender) {
	s := newSource(t, a).opened()
	list := s.batches(4)
	s.stream(list)
	for range 3 {
		first, second := s.settleChain(list[2], list[3])
		e := new(wire.Expected)
		if !errors.As(first, &e) || e.Offset != int64(len(s.raw)) || second != nil {
			t.Fatalf("both are there: %v and %v, want the position %d, and nil", first, second, len(s.raw))
		}
	}
	more := s.batch(2)
	s.stream([]wire.Batch{list[3], more}) // the first one is there, and the second one fits
	s.took(more)
	s.stands()
	s.kept()
}
