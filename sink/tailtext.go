package sink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"fanin/internal/wire"
)

// TailText returns the bytes before a position that a tail hash covers: at most wire.TailSize, in
// its file. It returns ErrNoPosition or a *GoneError if the log does not have them.
func (s *Sink) TailText(ctx context.Context, at Position) ([]byte, error) {
	for {
		grown := s.Grown() // before the look, so that no change comes between
		g, _, err := s.generationAt(at)
		switch {
		case err != nil:
			return nil, err
		case g.Number != at.Generation || !g.readable():
			return nil, &GoneError{From: at, To: Position{g.Number, 0}}
		}
		text, err := s.textBefore(ctx, g, at.Offset)
		switch {
		case !errors.Is(err, fs.ErrNotExist):
			return text, err
		case s.changed(g): // compressed or removed just now
		case g.State != stateLive:
			return nil, &GoneError{From: at, To: Position{g.Number, 0}}
		default: // it is being rotated, or missing until the writer notices
			if err := s.awaitChange(ctx, grown); err != nil {
				return nil, err
			}
		}
	}
}

// awaitChange waits until another file begins, or for a moment.
func (s *Sink) awaitChange(ctx context.Context, grown <-chan struct{}) error {
	moment := time.NewTimer(20 * time.Millisecond)
	defer moment.Stop()
	select {
	case <-grown:
	case <-moment.C:
	case <-s.queue.ended:
		return errClosed
	case <-ctx.Done():
	}
	return ctx.Err()
}

func (s *Sink) textBefore(ctx context.Context, g Generation, offset int64) ([]byte, error) {
	text := make([]byte, min(offset, wire.TailSize))
	r := s.Reader(Position{g.Number, offset})
	defer r.Close()
	if err := r.enter(ctx, g); err != nil {
		return nil, err
	}
	if n, err := r.open.text.ReadAt(text, offset-int64(len(text))); n < len(text) {
		return nil, fmt.Errorf("read generation %d before %d: %w", g.Number, offset, err)
	}
	return text, nil
}
