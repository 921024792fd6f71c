package sink

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"fanin/internal/lines"
	"fanin/sink/line"
)

// Place finds the position that from names: "start", "end", a time as RFC 3339
// has it, a time span before now such as "10m" or "2d", or a position.
func (s *Sink) Place(ctx context.Context, from string) (Position, error) {
	switch from {
	case "", "end":
		return s.End(), nil
	case "start":
		return s.start(), nil
	}
	if at, err := ParsePosition(from); err == nil {
		_, _, err := s.generationAt(at)
		return at, err
	}
	t, err := ParseTime(from, time.Now())
	if err != nil {
		return Position{}, err
	}
	return s.Since(ctx, t)
}

// ParseTime reads a time, or how long before now it was.
func ParseTime(text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseFloat(days, 64); err == nil && n >= 0 && n < 36500 {
			return now.Add(-time.Duration(n * 24 * float64(time.Hour))), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("%q is %w: want start, end, a time (2026-11-22T17:00:00Z), a time span before now (10m, 2d) or a position (3:4096)", text, ErrNoPlace)
}

// ErrNoPlace is of a text that names no place in any log.
var ErrNoPlace = errors.New("no place in the log")

// start is the position of the oldest line.
func (s *Sink) start() Position {
	g, _, _ := s.generationAt(Position{})
	return Position{Generation: g.Number}
}

// files lists the files of the log, oldest first. The live one's size is as much
// as can be read.
func (s *Sink) files() []Generation {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := s.catalog.list()
	all[len(all)-1].Size = s.size
	return all
}

// Since is a position before all lines that bear this time or a later one, and
// behind most others: that of the first batch that was read so late. It looks
// into one ledger, whatever the log weighs. Agents whose clocks differ from the
// collector's are found as far as those agree.
func (s *Sink) Since(ctx context.Context, t time.Time) (Position, error) {
	all := s.files()
	for i, g := range all {
		live := i == len(all)-1
		if !live && (g.Closed.Before(t) || !g.there()) {
			continue
		}
		at, ok, err := s.firstRecord(ctx, g.Number, t.UnixMicro())
		if err != nil {
			return Position{}, err
		}
		if ok || live {
			return Position{g.Number, min(at, g.Size)}, nil
		}
	}
	return s.End(), nil
}

// firstRecord looks into a generation's ledger for the first record of this time
// or later, which begins at byte at; else at is where the ledger ends.
func (s *Sink) firstRecord(ctx context.Context, generation uint64, micros int64) (at int64, ok bool, err error) {
	err = s.ledger(ctx, generation, func(r []byte) bool {
		le := binary.LittleEndian
		length, position := int64(le.Uint32(r[28:])), int64(le.Uint64(r[64:]))
		if length > 0 && int64(le.Uint64(r[56:])) >= micros {
			at, ok = position, true
			return false
		}
		at = max(at, position+length)
		return true
	})
	return at, ok, err
}

// ledger gives the records of a generation's ledger, 80 bytes each, until each
// returns false. A generation without a ledger has none.
func (s *Sink) ledger(ctx context.Context, generation uint64, each func(r []byte) bool) error {
	f, err := os.Open(ledgerName(s.State, generation))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the ledger: %w", err)
	}
	defer f.Close()
	buf := make([]byte, 4096*recordSize)
	for {
		n, err := io.ReadFull(f, buf)
		for i := 0; i+recordSize <= n; i += recordSize {
			if !each(buf[i : i+recordSize]) {
				return nil
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("read the ledger of generation %d: %w", generation, err)
		}
	}
}

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
	if n, ok := s.counted.Load(g.Number); ok && whole {
		return n.(uint64), nil
	}
	n, err := s.countText(ctx, g, lo, hi)
	if err == nil && whole {
		s.counted.Store(g.Number, n)
	}
	return n, err
}

func (s *Sink) countText(ctx context.Context, g Generation, lo, hi int64) (uint64, error) {
	c := counter{s: s, g: g, at: lo}
	var r record
	err := s.ledger(ctx, g.Number, func(b []byte) bool {
		if r.parse(b) != nil || r.position >= hi {
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

// Back is the position from which on n lines that match lie before end. It looks
// at no more than most bytes of text.
func (s *Sink) Back(ctx context.Context, end Position, n int, match *line.Matcher, most int64) (Position, error) {
	all := s.files()
	at := end
	for i := len(all) - 1; i >= 0 && n > 0 && most > 0; i-- {
		g := all[i]
		if g.Number > end.Generation || !g.there() {
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
