package distribute

import (
	"context"
	"errors"

	"fanin/sink"
)

// readSize is how much text is read at a time.
const readSize = 256 << 10

// logReader reads the log for one dispatcher: forward from the group's position, and
// spans before that.
type logReader struct {
	front, back       *sink.Reader // nil: not needed lately
	frontBuf, backBuf []byte
}

// reading is what was read of a piece.
type reading struct {
	text    []byte // nil: the end of the log
	at, end sink.Position
	err     error
	gone    int // with a *sink.GoneError: lines, as far as they can be counted
}

// read reads a piece, or its beginning.
func (l *logReader) read(ctx context.Context, k *sink.Sink, p *piece) reading {
	switch {
	case p.list != nil:
		return l.readSpan(ctx, k, p.span)
	case p.ahead:
		return reading{}
	}
	return l.readNext(ctx, k, p.next)
}

// readNext reads on from a position.
func (l *logReader) readNext(ctx context.Context, k *sink.Sink, next sink.Position) (r reading) {
	if l.front == nil {
		l.front, l.frontBuf = k.Reader(next), make([]byte, readSize)
	}
	if l.front.At() != next {
		l.front.Seek(next)
	}
	r.text, r.at, r.err = l.front.Read(ctx, l.frontBuf)
	r.end = l.front.At()
	var gone *sink.GoneError
	if errors.As(r.err, &gone) {
		n, _, _ := k.Count(ctx, gone.From, gone.To) // as far as it can be counted
		r.gone = int(n)
	}
	return r
}

// readSpan reads the text of a span, or its beginning.
func (l *logReader) readSpan(ctx context.Context, k *sink.Sink, s span) (r reading) {
	if l.back == nil {
		l.back, l.backBuf = k.Reader(s.at()), make([]byte, readSize)
	}
	l.back.Seek(s.at())
	r.text, r.at, r.err = readWithin(ctx, l.back, s, l.backBuf)
	if r.err != nil {
		return r
	}
	if over := l.back.At().Offset - s.to; over > 0 && r.at.Generation == s.generation {
		r.text = r.text[:max(int64(len(r.text))-over, 0)]
	}
	return r
}

// close closes the readers and frees the buffers.
func (l *logReader) close() {
	for _, r := range []*sink.Reader{l.front, l.back} {
		if r != nil {
			r.Close()
		}
	}
	*l = logReader{}
}

// errAway is the error for a file that is being renamed just now.
var errAway = errors.New("the file is being renamed by a rotation")

// readWithin reads on within a span, all of which was in the log. The error is a
// *sink.GoneError for what is no longer there, and errAway during a rotation.
func readWithin(ctx context.Context, r *sink.Reader, s span, buf []byte) (text []byte, at sink.Position, err error) {
	at = r.At()
	text, from, err := r.Read(ctx, buf)
	switch {
	case errors.Is(err, sink.ErrNoPosition), err == nil && text != nil && from != at:
		err = &sink.GoneError{From: at, To: s.end()}
	case err == nil && text == nil:
		err = errAway
	}
	return text, from, err
}
