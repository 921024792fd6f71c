package appendertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"fanin/internal/wire"
)

// source is an agent's end of one stream: its bytes so far, whose length is the
// stream's position. Its bytes are not those it sends, since a source may be decoded.
type source struct {
	t     *testing.T
	to    wire.Appender
	id    wire.StreamID
	epoch uint32
	raw   []byte // all of the source's bytes up to the next batch
	text  []byte // all text that was acknowledged
	shown []Line // the same, with labels
	line  int64  // lines so far
}

func newSource(t *testing.T, to wire.Appender) *source {
	return &source{t: t, to: to, id: wire.NewStreamID()}
}

// batch is the next n lines, not sent yet.
func (s *source) batch(n int) wire.Batch {
	b := wire.Batch{Stream: s.id, Epoch: s.epoch, FirstLine: s.line, Time: time.Now().UnixMicro(), Input: "test", Agent: "agent", Host: "host", Source: "source"}
	b.Offset, b.Before = int64(len(s.raw)), wire.TailHash(s.raw)
	raw := bytes.Clone(s.raw)
	for i := range int64(n) {
		line := fmt.Sprintf("%s %d %d\n", s.id, s.epoch, s.line+i)
		raw = append(raw, "raw "+line...)
		b.Text = append(b.Text, line...)
	}
	b.End, b.After = int64(len(raw)), wire.TailHash(raw)
	return b
}

// took advances the source past a data batch that was acknowledged.
func (s *source) took(b wire.Batch) {
	for line := range bytes.Lines(b.Text) {
		s.raw = append(append(s.raw, "raw "...), line...)
		s.line++
	}
	s.text = append(s.text, b.Text...)
	s.shown = append(s.shown, shown(b)...)
}

// op is an operation without text, at the place where the source is.
func (s *source) op(op wire.Op) wire.Batch {
	at, tail := int64(len(s.raw)), wire.TailHash(s.raw)
	return wire.Batch{Op: op, Stream: s.id, Epoch: s.epoch, Offset: at, End: at, Before: tail, After: tail,
		Input: "test", Agent: "agent", Host: "host", Source: "source", Control: wire.Control{Identity: []byte("identity")}}
}

// opened opens the stream.
func (s *source) opened() *source {
	s.t.Helper()
	s.acked(s.op(wire.OpOpen))
	return s
}

// send sends n lines, which must be acknowledged.
func (s *source) send(n int) wire.Batch {
	s.t.Helper()
	b := s.batch(n)
	s.acked(b)
	s.took(b)
	return b
}

// settle appends b until its outcome is known: an error that is neither an
// *Expected nor an ErrRefused allows to send it again.
func (s *source) settle(b wire.Batch) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	for {
		err := s.to.Append(ctx, b)
		var e *wire.Expected
		if err == nil || errors.As(err, &e) || errors.Is(err, wire.ErrRefused) {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("no outcome within 20 s, last: %w", err)
		}
	}
}

func (s *source) acked(b wire.Batch) {
	s.t.Helper()
	if err := s.settle(b); err != nil {
		s.t.Fatalf("%s: %v, want nil", describe(b), err)
	}
}

// nacked appends b, which must be answered with the source's position.
func (s *source) nacked(b wire.Batch) *wire.Expected {
	s.t.Helper()
	e := s.expected(b)
	if want := int64(len(s.raw)); !e.Known || e.Epoch != s.epoch || e.Offset != want || e.Tail != wire.TailHash(s.raw) {
		s.t.Fatalf("%s: expected %+v, want epoch %d, offset %d, tail %x", describe(b), *e, s.epoch, want, wire.TailHash(s.raw))
	}
	return e
}

func (s *source) unknown(b wire.Batch) {
	s.t.Helper()
	if e := s.expected(b); e.Known {
		s.t.Fatalf("%s: expected %+v, want a stream that is not known", describe(b), *e)
	}
}

func (s *source) expected(b wire.Batch) *wire.Expected {
	s.t.Helper()
	err := s.settle(b)
	var e *wire.Expected
	if !errors.As(err, &e) {
		s.t.Fatalf("%s: %v, want *wire.Expected", describe(b), err)
	}
	return e
}

// stands checks the stream's position without changing it: no stream was ever at the
// position of the probe.
func (s *source) stands() {
	s.t.Helper()
	probe := s.batch(1)
	probe.Before, probe.After = ^probe.Before, ^probe.After
	s.nacked(probe)
}

// kept compares what was kept with what was acknowledged, if the Appender shows it.
func (s *source) kept() {
	s.t.Helper()
	if k, ok := s.to.(interface{ Text(wire.StreamID) []byte }); ok {
		if got := k.Text(s.id); !bytes.Equal(got, s.text) {
			s.t.Fatalf("stream %s: kept %.300q (%d bytes), want %.300q (%d bytes)", s.id, got, len(got), s.text, len(s.text))
		}
	}
	if k, ok := s.to.(interface{ Shown(wire.StreamID) []Line }); ok {
		same := func(a, b Line) bool { return a.Source == b.Source && a.Text == b.Text && a.Time.Equal(b.Time) }
		if got := k.Shown(s.id); !slices.EqualFunc(got, s.shown, same) {
			s.t.Fatalf("stream %s: %d lines are shown, %.300v, want %d, %.300v", s.id, len(got), got, len(s.shown), s.shown)
		}
	}
}

func describe(b wire.Batch) string {
	name := [...]string{wire.OpData: "data", wire.OpOpen: "open", wire.OpSkip: "skip", wire.OpEnd: "end"}
	op := "unknown operation"
	if int(b.Op) < len(name) {
		op = name[b.Op]
	}
	return fmt.Sprintf("%s (epoch %d, %d to %d, %d bytes)", op, b.Epoch, b.Offset, b.End, len(b.Text))
}
