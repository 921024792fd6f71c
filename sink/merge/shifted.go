package merge

import (
	"context"
	"errors"
	"time"

	"fanin/sink"
)

// Shifted is a Source whose generations count from another number on: a log that continues another one
// has its positions behind those of that one.
type Shifted struct {
	Source
	By uint64
}

// Shift is a position of the log as a Shifted has it.
func (s Shifted) Shift(at sink.Position) sink.Position {
	if at != (sink.Position{}) {
		at.Generation += s.By
	}
	return at
}

func (s Shifted) back(at sink.Position) sink.Position {
	if at.Generation <= s.By {
		return sink.Position{}
	}
	at.Generation -= s.By
	return at
}

// Open begins to read, see Source.
func (s Shifted) Open(at sink.Position) Text { return shiftedText{s.Source.Open(s.back(at)), s} }

// End is where the log ends, see Source.
func (s Shifted) End(ctx context.Context) (sink.Position, error) {
	at, err := s.Source.End(ctx)
	return s.Shift(at), err
}

// Since finds a time, see Source.
func (s Shifted) Since(ctx context.Context, t time.Time) (sink.Position, error) {
	at, err := s.Source.Since(ctx, t)
	return s.Shift(at), err
}

type shiftedText struct {
	Text
	s Shifted
}

func (t shiftedText) At() sink.Position { return t.s.Shift(t.Text.At()) }

func (t shiftedText) Read(ctx context.Context, buf []byte) (text []byte, at sink.Position, err error) {
	text, at, err = t.Text.Read(ctx, buf)
	var gone *sink.GoneError
	if errors.As(err, &gone) {
		err = &sink.GoneError{From: t.s.Shift(gone.From), To: t.s.Shift(gone.To)}
	}
	return text, t.s.Shift(at), err
}

func (t shiftedText) Spans(dst []sink.Span, text []byte, at sink.Position) ([]sink.Span, error) {
	return t.Text.Spans(dst, text, t.s.back(at))
}
