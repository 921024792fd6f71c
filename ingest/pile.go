package ingest

import (
	"fanin/internal/lines"
	"fanin/internal/wire"
)

// pile gathers the lines of messages into one batch. Where the source changes,
// or a piece is full, it has a cut.
type pile struct {
	text   []byte
	cuts   []wire.Cut
	source string // of the first lines
	last   string // of the latest
	lines  int
	piece  struct {
		bytes, lines int
	}
	end   int64
	after wire.Hash
}

// fullPile is how much text makes a batch.
const fullPile = 1 << 20

func (p *pile) empty() bool { return len(p.text) == 0 }

// fits reports whether n more bytes make no batch that is too large.
func (p *pile) fits(n int) bool { return p.empty() || len(p.text)+n <= fullPile }

// add puts a piece of whole lines on the pile; its stream then stands at end.
func (p *pile) add(source string, text []byte, end int64, after wire.Hash) {
	lines := lines.Count(text)
	switch {
	case p.empty():
		p.source = source
	case source != p.last, p.piece.bytes+len(text) > wire.MaxCutText, p.piece.lines+lines > wire.MaxCutLines:
		p.cuts = append(p.cuts, wire.Cut{Text: len(p.text), End: p.end, After: p.after, Source: source})
		p.piece.bytes, p.piece.lines = 0, 0
	}
	p.text = append(p.text, text...)
	p.lines += lines
	p.piece.bytes += len(text)
	p.piece.lines += lines
	p.last, p.end, p.after = source, end, after
}

func (p *pile) reset() {
	*p = pile{text: p.text[:0], cuts: p.cuts[:0]}
	if cap(p.text) > 4*fullPile {
		p.text = nil // one large message shall not be remembered for ever
	}
}
