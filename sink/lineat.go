package sink

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"
)

// LineAt returns where the line begins that has the byte at a position. The end of a file
// stands for its last line. *GoneError: that file is no longer there.
func (s *Sink) LineAt(ctx context.Context, at Position) (Position, error) {
	g, next, err := s.generationAt(at)
	if err != nil {
		return at, err
	}
	r := s.Reader(at)
	defer r.Close()
	if g.Number != at.Generation || !g.readable() {
		return at, r.gap(g, next)
	}
	if err := r.enter(ctx, g); err != nil {
		return at, r.missing(g, next, err)
	}
	at.Offset = max(0, min(at.Offset, g.Size-1))
	buf := make([]byte, 4<<10)
	for at.Offset > 0 {
		lo := max(0, at.Offset-int64(len(buf)))
		text := buf[:at.Offset-lo]
		if _, err := r.open.text.ReadAt(text, lo); err != nil && err != io.EOF {
			return at, fmt.Errorf("read generation %d at %d: %w", g.Number, lo, err)
		}
		if i := bytes.LastIndexByte(text, '\n'); i >= 0 {
			at.Offset = lo + int64(i) + 1
			break
		}
		at.Offset = lo
		if err := ctx.Err(); err != nil {
			return at, err
		}
	}
	return at, nil
}

// TimeAt returns when the line at a position was read, as far as the ledger tells: that of the
// first record there or behind. ok is false if there is none.
func (s *Sink) TimeAt(ctx context.Context, at Position) (t time.Time, ok bool, err error) {
	if _, _, err := s.generationAt(at); err != nil {
		return t, false, err
	}
	for _, g := range s.files() {
		if g.Number < at.Generation || ok || err != nil {
			continue
		}
		err = s.ledger(ctx, g.Number, func(r *record) bool {
			if r.length > 0 && (g.Number > at.Generation || r.position+int64(r.length) > at.Offset) {
				t, ok = timeOf(r.time), true
			}
			return !ok
		})
	}
	return t, ok, err
}
