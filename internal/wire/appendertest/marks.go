package appendertest

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"fanin/internal/wire"
)

// Line is a line that was kept, with the source and the time that its mark names. An
// empty source is the stream's own, and a zero time is when the line was read.
type Line struct {
	Source string
	Time   time.Time
	Text   string
}

// Shown is the lines kept of a stream, as Text is.
func (m *Memory) Shown(stream wire.StreamID) (list []Line) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.kept {
		if b := &m.kept[i]; b.Stream == stream {
			list = append(list, shown(*b)...)
		}
	}
	return list
}

func shown(b wire.Batch) (list []Line) {
	b.Source = ""
	for l, text := range b.Runs() {
		for line := range bytes.Lines(text) {
			list = append(list, Line{l.Source, l.Time, string(line)})
		}
	}
	return list
}

// Observe is a whose batches end in m, and which is asked what m has kept.
func Observe(a wire.Appender, m *Memory) wire.Appender { return &observed{a, m} }

type observed struct {
	wire.Appender
	m *Memory
}

func (o *observed) Text(stream wire.StreamID) []byte  { return o.m.Text(stream) }
func (o *observed) Shown(stream wire.StreamID) []Line { return o.m.Shown(stream) }

// label gives b a mark before each line that labels names, and a cut before each that
// cuts names.
func (s *source) label(b *wire.Batch, labels map[int]wire.Labels, cuts ...int) {
	text, end := b.Text, b.Offset
	b.Text, b.Cuts, b.Marks = nil, nil, nil
	raw := slices.Clone(s.raw)
	i := 0
	for line := range bytes.Lines(text) {
		if slices.Contains(cuts, i) {
			b.Cuts = append(b.Cuts, wire.Cut{Text: len(b.Text), End: end, After: wire.TailHash(raw)})
		}
		if l, ok := labels[i]; ok && !b.Label(l) {
			s.t.Fatal("too many marks")
		}
		b.Text = append(b.Text, line...)
		raw = append(append(raw, "raw "...), line...)
		end = int64(len(raw))
		i++
	}
}

// at is a time that lines show.
func at(second int) time.Time {
	return time.Unix(1763830800, 0).Add(time.Duration(second) * time.Second)
}

func marks(t *testing.T, a wire.Appender) {
	s := newSource(t, a).opened()
	for _, labels := range []map[int]wire.Labels{
		{0: {Source: "first"}},
		{0: {Source: "a", Time: at(1)}, 1: {Source: "a", Time: at(2)}, 2: {Time: at(3)}, 3: {}, 4: {Source: "last"}},
		{4: {Source: "last", Time: at(-1000)}},
		{},
	} {
		b := s.batch(5)
		s.label(&b, labels)
		s.acked(b)
		s.took(b)
		s.acked(b)
	}
	s.send(1)
	s.stands()
	s.kept()
}

// dividedMarks: wherever a batch with cuts and marks was interrupted, its rest goes on
// with the labels in force there.
func dividedMarks(t *testing.T, a wire.Appender) {
	for i := range 3 {
		s := newSource(t, a).opened()
		whole := s.batch(8)
		s.label(&whole, map[int]wire.Labels{0: {Source: "a"}, 2: {Source: "b", Time: at(1)}, 5: {Time: at(2)}, 7: {Source: "c"}}, 1, 4, 5)
		head, rest := whole.Divide(i)
		if got := append(shown(head), shown(rest)...); !slices.Equal(got, shown(whole)) {
			t.Fatalf("%v divided at cut %d is %v", shown(whole), i, got)
		}
		s.acked(head)
		s.took(head)
		s.nacked(whole) // the keeper is within it
		s.acked(rest)
		s.took(rest)
		s.acked(rest)
		s.stands()
		s.send(1)
		s.kept()
	}
}

// manyMarks: a large batch with a label for each line, as its sender divides it.
func manyMarks(t *testing.T, a wire.Appender) {
	s := newSource(t, a).opened()
	b := s.batch(wire.MaxMarks)
	labels := make(map[int]wire.Labels)
	for i := range wire.MaxMarks {
		labels[i] = wire.Labels{Source: fmt.Sprint("s", i%7), Time: at(i)}
	}
	s.label(&b, labels, wire.MaxMarks/3, wire.MaxMarks/2)
	s.acked(b)
	s.took(b)
	s.acked(b)
	s.stands()
	s.kept()
}
