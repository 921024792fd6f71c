package ingest

import (
	"bytes"
	"iter"

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
	lines := countLines(text)
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

// pieces divides whole lines so that each part goes without a cut. The same text
// is always divided in the same way.
func pieces(text []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(text) > 0 {
			n := pieceLength(text)
			if !yield(text[:n]) {
				return
			}
			text = text[n:]
		}
	}
}

func pieceLength(text []byte) int {
	n := min(len(text), wire.MaxCutText)
	if n < len(text) {
		if n = bytes.LastIndexByte(text[:n], '\n') + 1; n == 0 {
			return bytes.IndexByte(text, '\n') + 1 // one line
		}
	}
	end := 0
	for lines := 0; lines < wire.MaxCutLines && end < n; lines++ {
		end += bytes.IndexByte(text[end:n], '\n') + 1
	}
	return end
}
