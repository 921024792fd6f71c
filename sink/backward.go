package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"fanin/sink/line"
)

// Back returns the position that n matching lines before end begin at. It reads at most
// most bytes of text.
func (s *Sink) Back(ctx context.Context, end Position, n int, match *line.Matcher, most int64) (Position, error) {
	all := s.files()
	at := end
	for i := len(all) - 1; i >= 0 && n > 0 && most > 0; i-- {
		g := all[i]
		if g.Number > end.Generation || !g.readable() {
			continue
		}
		hi := g.Size
		if g.Number == end.Generation {
			hi = min(hi, end.Offset)
		}
		b := backward{r: s.Reader(Position{g.Number, 0}), g: g, hi: hi, n: n, match: match, most: most}
		err := b.run(ctx)
		b.r.Close()
		if errors.Is(err, fs.ErrNotExist) {
			break // removed just now
		}
		if err != nil {
			return at, err
		}
		at, n, most = Position{g.Number, b.hi}, b.n, b.most
	}
	return at, nil
}

// backward goes through one generation from its end.
type backward struct {
	r     *Reader
	g     Generation
	hi    int64 // where the last line that was looked at begins
	n     int   // lines still wanted
	most  int64 // bytes still to look at
	match *line.Matcher
}

func (b *backward) run(ctx context.Context) error {
	if err := b.r.enter(ctx, b.g); err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for b.hi > 0 && b.n > 0 && b.most > 0 {
		lo := max(0, b.hi-int64(len(buf)))
		text := buf[:b.hi-lo]
		if _, err := b.r.open.text.ReadAt(text, lo); err != nil && err != io.EOF {
			return fmt.Errorf("read generation %d at %d: %w", b.g.Number, lo, err)
		}
		first := 0
		if lo > 0 {
			if first = bytes.IndexByte(text, '\n') + 1; first == 0 || first == len(text) {
				buf = make([]byte, 4*len(buf)) // one line is longer than that
				continue
			}
		}
		b.most -= int64(len(text) - first)
		b.lines(text, first, lo)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// lines looks at the lines of text from byte first on, the last one first. Text
// begins at byte lo of the file.
func (b *backward) lines(text []byte, first int, lo int64) {
	for end := len(text); end > first && b.n > 0; {
		begin := first + bytes.LastIndexByte(text[first:end-1], '\n') + 1
		if b.match.Match(text[begin:end]) {
			b.n--
		}
		end, b.hi = begin, lo+int64(begin)
	}
}
