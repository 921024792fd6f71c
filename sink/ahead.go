package sink

import (
	"bytes"
	"context"
	"runtime"

	"fanin/sink/archive"
)

// ahead decompresses and searches the members of an archive before they are asked for, on several
// cores at a time. The blocks are handed out in order. Memory is that of as many blocks as there
// may be at a time: each is used again.
type ahead struct {
	o       *SearchOptions
	archive *archive.Reader
	begin   Position
	member  int // the next one
	blocks  *inOrder[Block]
	ctx     context.Context
	cancel  context.CancelFunc
}

// newAhead begins with the member that has the line at a position.
func newAhead(ctx context.Context, o *SearchOptions, a *archive.Reader, at Position) *ahead {
	n := max(1, o.Ahead)
	h := &ahead{o: o, archive: a, begin: at, member: a.MemberAt(at.Offset)}
	h.ctx, h.cancel = context.WithCancel(ctx)
	h.blocks = newInOrder(n, min(n, runtime.GOMAXPROCS(0)), h.worker)
	for range n {
		h.dispatch(new(Block))
	}
	return h
}

// stop ends the goroutines, and returns when they have ended.
func (h *ahead) stop() {
	h.cancel()
	h.blocks.stop()
}

// dispatch has the next member decompressed into a block.
func (h *ahead) dispatch(b *Block) {
	if h.member == h.archive.Members() {
		return
	}
	b.index, b.skip, b.err = h.member, 0, nil
	begin, _ := h.archive.Member(h.member)
	if begin < h.begin.Offset {
		b.skip = int(h.begin.Offset - begin)
	}
	h.member++
	h.blocks.give(b)
}

// next waits for the next block; nil: the archive has no more.
func (h *ahead) next(ctx context.Context) (*Block, error) {
	b, err := h.blocks.take(ctx)
	if b == nil {
		return nil, err
	}
	return b, b.err
}

func (h *ahead) worker() func(*Block) {
	var d archive.Decoder
	return func(b *Block) { b.err = h.search(&d, b) }
}

// search decompresses and searches one member.
func (h *ahead) search(d *archive.Decoder, b *Block) error {
	if err := h.o.enter(h.ctx); err != nil {
		return err
	}
	defer h.o.leave()
	if err := h.ctx.Err(); err != nil {
		return err
	}
	text, err := d.Decode(h.archive, b.index, b.buf)
	if err != nil {
		return err
	}
	b.buf = text
	begin, end := h.archive.Member(b.index)
	text = text[b.skip:]
	lines := text[:bytes.LastIndexByte(text, '\n')+1]
	b.Begin = Position{h.begin.Generation, begin + int64(b.skip)}
	b.End = Position{h.begin.Generation, b.Begin.Offset + int64(len(lines))}
	b.whole, b.to = b.End.Offset == end, h.o.To
	b.find(h.o.Match, lines)
	return nil
}
