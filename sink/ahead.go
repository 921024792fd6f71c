package sink

import (
	"bytes"
	"context"
	"runtime"
	"sync"

	"fanin/sink/archive"
)

// ahead decompresses and searches the members of an archive before they are asked for. Some
// goroutines do that, each member by one of them; the blocks are handed out in order. Memory is
// that of as many blocks as there may be at a time: each is used again.
type ahead struct {
	o       *SearchOptions
	archive *archive.Reader
	begin   Position
	member  int // the next one
	jobs    chan *Block
	pending []*Block // in the order of the log
	ctx     context.Context
	cancel  context.CancelFunc
	workers sync.WaitGroup
}

// newAhead begins with the member that has the line at a position.
func newAhead(ctx context.Context, o *SearchOptions, a *archive.Reader, at Position) *ahead {
	n := max(1, o.Ahead)
	h := &ahead{o: o, archive: a, begin: at, member: a.MemberAt(at.Offset), jobs: make(chan *Block, n)}
	h.ctx, h.cancel = context.WithCancel(ctx)
	for range min(n, runtime.GOMAXPROCS(0)) {
		h.workers.Go(h.work) // ends by stop, or with ctx
	}
	for range n {
		h.dispatch(new(Block))
	}
	return h
}

// stop ends the goroutines, and returns when they have ended.
func (h *ahead) stop() {
	h.cancel()
	close(h.jobs)
	h.workers.Wait()
}

// dispatch has the next member decompressed into a block. It never waits: there are no more
// blocks than the channel holds.
func (h *ahead) dispatch(b *Block) {
	if h.member == h.archive.Members() {
		return
	}
	b.index, b.skip, b.err, b.ready = h.member, 0, nil, make(chan struct{})
	begin, _ := h.archive.Member(h.member)
	if begin < h.begin.Offset {
		b.skip = int(h.begin.Offset - begin)
	}
	h.member++
	h.pending = append(h.pending, b)
	h.jobs <- b
}

// next waits for the next block; nil: the archive has no more.
func (h *ahead) next(ctx context.Context) (*Block, error) {
	if len(h.pending) == 0 {
		return nil, nil
	}
	b := h.pending[0]
	select {
	case <-b.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	h.pending = h.pending[:copy(h.pending, h.pending[1:])]
	return b, b.err
}

func (h *ahead) work() {
	var d archive.Decoder
	for b := range h.jobs {
		b.err = h.search(&d, b)
		close(b.ready)
	}
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
