package sink

import (
	"context"
	"errors"

	"fanin/internal/lines"
)

// Count counts the lines between two positions, both at the beginning of a line.
// Whole batches are counted by the ledger, the rest by reading it. What is gone
// counts as far as the ledgers that are left know it: exact is then false.
func (s *Sink) Count(ctx context.Context, from, to Position) (lines uint64, exact bool, err error) {
	all := s.files()
	exact = from.Generation >= all[0].Number
	for _, g := range all {
		if g.Number < from.Generation || g.Number > to.Generation {
			continue
		}
		lo, hi := int64(0), g.Size
		if g.Number == from.Generation {
			lo = from.Offset
		}
		if g.Number == to.Generation {
			hi = min(hi, to.Offset)
		}
		if lo >= hi {
			continue
		}
		n, err := s.countIn(ctx, g, lo, hi)
		lines += n
		var gone *GoneError
		if errors.As(err, &gone) {
			exact = false
			continue
		}
		if err != nil {
			return lines, false, err
		}
	}
	return lines, exact, nil
}

// countIn counts the lines of one generation from byte lo to byte hi.
// What a closed file holds in all is counted once.
func (s *Sink) countIn(ctx context.Context, g Generation, lo, hi int64) (uint64, error) {
	whole := g.State != stateLive && lo == 0 && hi == g.Size
	if n, ok := s.view.counted.Load(g.Number); ok && whole {
		return n.(uint64), nil
	}
	n, err := s.countText(ctx, g, lo, hi)
	if err == nil && whole {
		s.view.counted.Store(g.Number, n)
	}
	return n, err
}

func (s *Sink) countText(ctx context.Context, g Generation, lo, hi int64) (uint64, error) {
	c := counter{s: s, g: g, at: lo}
	err := s.ledger(ctx, g.Number, func(r *record) bool {
		if r.position >= hi {
			return false
		}
		end := r.position + int64(r.length)
		if r.length == 0 || r.position < c.at || end > hi {
			return true
		}
		c.text(ctx, r.position)
		c.lines += uint64(r.lines)
		c.at = end
		return true
	})
	c.text(ctx, hi)
	return c.lines, errors.Join(err, c.err)
}

// counter counts the lines of a generation as far as at.
type counter struct {
	s     *Sink
	g     Generation
	at    int64
	lines uint64
	err   error
}

// text counts by reading on to byte to.
func (c *counter) text(ctx context.Context, to int64) {
	if c.at >= to || c.err != nil {
		return
	}
	r := c.s.Reader(Position{c.g.Number, c.at})
	defer r.Close()
	buf := make([]byte, 256<<10)
	for r.at.Generation == c.g.Number && r.at.Offset < to {
		text, at, err := r.Read(ctx, buf)
		if err != nil || text == nil {
			c.err = err
			break
		}
		if over := r.at.Offset - to; at.Generation == c.g.Number && over > 0 && over < int64(len(text)) {
			text = text[:int64(len(text))-over]
		}
		if at.Generation == c.g.Number {
			c.lines += uint64(lines.Count(text))
		}
	}
	c.at = to
}

// Distance is how many bytes of text lie between two positions.
func (s *Sink) Distance(from, to Position) (bytes int64) {
	for _, g := range s.files() {
		lo, hi := int64(0), g.Size
		if g.Number == from.Generation {
			lo = from.Offset
		}
		if g.Number == to.Generation {
			hi = to.Offset
		}
		if g.Number >= from.Generation && g.Number <= to.Generation {
			bytes += max(0, hi-lo)
		}
	}
	return bytes
}
