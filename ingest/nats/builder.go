package nats

import (
	"fanin/internal/lines"
	"fanin/internal/wire"
)

// pile gathers the lines of messages into the Text of one batch. It has a mark
// where the source changes, and a cut where a piece is full.
type pile struct {
	wire.Batch
	lines int
	piece struct {
		bytes, lines int
	}
	end   int64
	after wire.Hash
}

// fullPile is how much text makes a batch.
const fullPile = 1 << 20

func (p *pile) empty() bool { return len(p.Text) == 0 }

// fits reports whether n more bytes, perhaps of another source, make no batch that
// is too large.
func (p *pile) fits(n int) bool {
	return p.empty() || len(p.Text)+n <= fullPile && len(p.Marks) < wire.MaxMarks
}

// add puts a piece of whole lines on the pile; its stream then stands at end.
func (p *pile) add(source string, text []byte, end int64, after wire.Hash) {
	lines := lines.Count(text)
	if !p.empty() && (p.piece.bytes+len(text) > wire.MaxCutText || p.piece.lines+lines > wire.MaxCutLines) {
		p.Cuts = append(p.Cuts, wire.Cut{Text: len(p.Text), End: p.end, After: p.after})
		p.piece.bytes, p.piece.lines = 0, 0
	}
	p.Label(wire.Labels{Source: source})
	p.Text = append(p.Text, text...)
	p.lines += lines
	p.piece.bytes += len(text)
	p.piece.lines += lines
	p.end, p.after = end, after
}

func (p *pile) reset() {
	*p = pile{Batch: wire.Batch{Text: p.Text[:0], Cuts: p.Cuts[:0], Marks: p.Marks[:0]}}
	if cap(p.Text) > 4*fullPile {
		p.Text = nil // one large message shall not be remembered for ever
	}
}
