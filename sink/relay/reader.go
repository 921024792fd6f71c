package relay

import (
	"bytes"
	"context"
	"errors"

	"fanin/internal/wire"
	"fanin/sink"
)

// reader makes batches of the lines of a log, in order. The text of a batch is that of the lines,
// without what the layout put before it; its offsets and tail hashes are those of the file, so that
// the upstream's watermark is a position in this log.
type reader struct {
	log    *sink.Reader
	labels labeler
	limit  int // bytes of text and labels in a batch

	buf   []byte
	chunk []byte        // whole lines of one file
	at    int           // bytes of chunk that are in batches
	begin sink.Position // of chunk
	added int           // 1: the newline at the end of chunk is not in the file
	tail  []byte        // of the file before chunk, as much as a hash covers
	gap   *sink.GoneError
}

// chunkSize is how much of the log is read at a time.
const chunkSize = 1 << 20

// errBack is of a place that was gone, and can be read again: without the bytes before it, the hash
// there would be another one.
var errBack = errors.New("the file can be read again")

// newReader reads from a position on, before which the file has tail.
func newReader(log *sink.Reader, labels labeler, limit int, tail []byte) *reader {
	return &reader{log: log, labels: labels, limit: limit, buf: make([]byte, chunkSize), begin: log.At(), tail: tail}
}

// next fills b with the next lines, and waits until there are some.
func (r *reader) next(ctx context.Context, b *batch) error {
	for b.begin(r.position(), 0); ; {
		if r.at == len(r.chunk) && r.gap == nil {
			if more, err := r.read(ctx, b.empty()); err != nil || !more {
				return err
			}
		}
		switch {
		case r.gap != nil && b.empty():
			b.gap, r.gap = r.gap, nil
			return nil
		case r.gap != nil, !b.empty() && b.generation != r.begin.Generation:
			return nil
		case b.empty():
			b.begin(r.position(), r.hash())
		}
		if b.full = r.take(b); b.full {
			return nil
		}
	}
}

// position is where the next line is.
func (r *reader) position() sink.Position {
	at := r.begin
	if at.Offset += int64(r.at); r.at == len(r.chunk) {
		at.Offset -= int64(r.added)
	}
	return at
}

// read reads the next chunk, if wait is set when there is one. False: there is none yet.
func (r *reader) read(ctx context.Context, wait bool) (more bool, err error) {
	r.leave()
	read := r.log.Read
	if wait {
		read = r.log.Next
	}
	text, at, err := read(ctx, r.buf)
	if errors.As(err, &r.gap) {
		r.begin, r.tail = r.log.At(), nil
		return true, nil
	}
	if err != nil || text == nil {
		return false, err
	}
	if at.Generation != r.begin.Generation {
		r.tail = nil
	}
	if at.Offset > 0 && len(r.tail) == 0 {
		return false, errBack
	}
	r.chunk, r.begin = text, at
	if now := r.log.At(); now.Generation == at.Generation {
		r.added = len(text) - int(now.Offset-at.Offset)
	}
	return true, nil
}

// leave leaves the chunk, all of which is in batches, and keeps its end: it is about to be
// overwritten.
func (r *reader) leave() {
	text := r.chunk[:len(r.chunk)-r.added]
	r.tail = append(r.tail, text[max(0, len(text)-wire.TailSize):]...)
	r.tail = r.tail[:copy(r.tail, r.tail[max(0, len(r.tail)-wire.TailSize):])]
	r.begin = r.position()
	r.chunk, r.at, r.added = nil, 0, 0
}

// hash is the tail hash at the present position.
func (r *reader) hash() wire.Hash {
	end := r.at
	if r.at == len(r.chunk) {
		end -= r.added
	}
	if end >= wire.TailSize {
		return wire.TailHash(r.chunk[end-wire.TailSize : end])
	}
	var b [2 * wire.TailSize]byte
	text := append(b[:0], r.tail[max(0, len(r.tail)-wire.TailSize):]...)
	return wire.TailHash(append(text, r.chunk[:end]...))
}

// take adds lines of the chunk to b. It reports whether b is complete.
func (r *reader) take(b *batch) (full bool) {
	for r.at < len(r.chunk) {
		n := bytes.IndexByte(r.chunk[r.at:], '\n') + 1
		body, changed := r.labels.body(r.chunk[r.at : r.at+n-1])
		text := r.labels.text(body)
		if text == nil {
			return r.skip(b, n)
		}
		size, cost := len(text)+1, 0
		if changed || b.lines == 0 {
			cost = r.labels.cost()
		}
		if !b.fits(size, cost, r.limit) {
			break
		}
		if size += len(r.labels.labels.Attributes); b.divides(size) {
			b.cut(r.position().Offset, r.hash())
		}
		if cost > 0 {
			b.labels += cost
			b.Label(r.labels.labels)
		}
		b.Text = append(append(b.Text, text...), '\n')
		b.added(size)
		r.at += n
	}
	r.finish(b)
	return r.at < len(r.chunk)
}

// skip leaves out the next line, of n bytes, which no batch can carry: in a batch of its own.
func (r *reader) skip(b *batch, n int) (full bool) {
	if b.lines == 0 {
		r.at += n
		b.Op, b.Reason = wire.OpSkip, "a line that is too long to be relayed"
		b.Text, b.Marks = nil, nil
	}
	r.finish(b)
	return true
}

// finish has b end at the present position.
func (r *reader) finish(b *batch) {
	b.End, b.After = r.position().Offset, r.hash()
	b.Joined = r.labels.format == "json" && wire.IsRecord(b.Text)
}
