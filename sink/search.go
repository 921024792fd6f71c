package sink

import (
	"context"
	"iter"

	"fanin/sink/archive"
	"fanin/sink/line"
)

// Search reads the log and finds lines in it, in their order. Members of archives are
// decompressed and searched on several cores at a time. One goroutine at a time may use it;
// it must be closed.
type Search struct {
	o      SearchOptions
	s      *Sink
	reader *Reader
	buf    []byte
	block  Block
	ahead  *ahead // nil: none
	held   *Block // of ahead: what Next returned last
}

// SearchOptions says what a Search looks for, and what it may use. Zero fields take the
// defaults named.
type SearchOptions struct {
	Match  *line.Matcher
	To     Position      // lines that begin there or behind are not found; default: no bound
	Ahead  int           // members that are in memory at a time, of 1 MiB of text; default 1
	Gate   chan struct{} // holds an element for each goroutine that reads now, of all searches; nil: unlimited
	Buffer int           // bytes to read at a time of a file that is not compressed; default 256 KiB
}

// Search begins at a position, which must be where a line begins.
func (s *Sink) Search(at Position, o SearchOptions) *Search {
	if o.Buffer == 0 {
		o.Buffer = 256 << 10
	}
	return &Search{o: o, s: s, reader: s.Reader(at)}
}

// Block is a part of the log that was searched. It is valid until the next call of the Search.
type Block struct {
	Begin, End Position // of what was searched

	buf   []byte // of the member
	text  []byte
	found []lineSpan
	to    Position

	whole bool  // it ends where its member ends
	index int   // of the member
	skip  int   // bytes of its text that are not searched
	err   error // in place of text
}

// lineSpan is where a line begins and ends in the text of a block, its newline included.
type lineSpan struct{ begin, end int32 }

// Lines are the positions and the lines that were found, each with its newline.
func (b *Block) Lines() iter.Seq2[Position, []byte] {
	return func(yield func(Position, []byte) bool) {
		for _, f := range b.found {
			at := Position{b.Begin.Generation, b.Begin.Offset + int64(f.begin)}
			if b.to != (Position{}) && at.Compare(b.to) >= 0 {
				return
			}
			if !yield(at, b.text[f.begin:f.end]) {
				return
			}
		}
	}
}

// find searches text, which begins at b.Begin.
func (b *Block) find(m *line.Matcher, text []byte) {
	b.text, b.found = text, b.found[:0]
	m.Find(text, func(begin, end int) bool {
		b.found = append(b.found, lineSpan{int32(begin), int32(end)})
		return true
	})
}

// At is where the search continues.
func (x *Search) At() Position { return x.reader.At() }

// Next searches the next part of the log; nil: there is no more now. After a *GoneError it
// continues behind the gap.
func (x *Search) Next(ctx context.Context) (*Block, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if x.o.To != (Position{}) && x.At().Compare(x.o.To) >= 0 {
		return nil, nil
	}
	if x.ahead == nil {
		x.lookAhead(ctx)
	}
	if x.ahead != nil {
		b, err := x.nextAhead(ctx)
		if b != nil || err != nil {
			return b, err
		}
	}
	return x.readOn(ctx)
}

// readOn searches what the reader reads next.
func (x *Search) readOn(ctx context.Context) (*Block, error) {
	if err := x.o.enter(ctx); err != nil {
		return nil, err
	}
	defer x.o.leave()
	if x.buf == nil {
		x.buf = make([]byte, x.o.Buffer)
	}
	text, at, err := x.reader.Read(ctx, x.buf)
	if err != nil || text == nil {
		return nil, err
	}
	b := &x.block
	b.Begin, b.End, b.to = at, x.At(), x.o.To
	b.find(x.o.Match, text)
	return b, nil
}

// enter waits until one more goroutine may read.
func (o *SearchOptions) enter(ctx context.Context) error {
	if o.Gate == nil {
		return ctx.Err()
	}
	select {
	case o.Gate <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (o *SearchOptions) leave() {
	if o.Gate != nil {
		<-o.Gate
	}
}

// lookAhead begins to decompress ahead if the position is in an archive with a table.
func (x *Search) lookAhead(ctx context.Context) {
	at := x.At()
	g, _, err := x.s.generationAt(at)
	if err != nil || g.Number != at.Generation || g.State != stateGzip || at.Offset >= g.Size {
		return
	}
	if x.reader.enter(ctx, g) != nil {
		return // the reader reports it
	}
	if a, ok := x.reader.open.text.(*archive.Reader); ok && at.Offset < a.Size() && a.Members() > 0 {
		x.ahead = newAhead(ctx, &x.o, a, at)
	}
}

// nextAhead returns the next member's lines; nil if reading on must take over: at the end of
// the archive, and where a line does not end in the member in which it begins.
func (x *Search) nextAhead(ctx context.Context) (*Block, error) {
	if x.held != nil {
		x.ahead.dispatch(x.held)
		x.held = nil
	}
	b, err := x.ahead.next(ctx)
	if err != nil {
		x.stopAhead()
		return nil, err
	}
	if b == nil {
		x.stopAhead()
		return nil, nil
	}
	x.reader.Seek(b.End)
	x.held = b
	if b.whole {
		return b, nil
	}
	x.held = nil
	x.stopAhead()
	if b.Begin == b.End {
		return nil, nil
	}
	return b, nil
}

func (x *Search) stopAhead() {
	if x.ahead != nil {
		x.ahead.stop()
		x.ahead, x.held = nil, nil
	}
}

// Close ends what works ahead, and closes the file.
func (x *Search) Close() error {
	x.stopAhead()
	x.buf = nil
	return x.reader.Close()
}
