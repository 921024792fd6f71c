package livetail

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fanin/internal/retry"
	"fanin/sink"
)

// watcher sends the log to one request.
type watcher struct {
	tail   *Tail
	query  query
	reader *sink.Reader
	search *sink.Search // until it has reached the end of the log; nil: reader reads
	out    *events
	live   bool // it has reached the end of the log once

	arrived func() // to be called then
}

// keepAlive is how often a comment is sent while there are no lines, so that a watcher
// that is gone is noticed.
const keepAlive = 15 * time.Second

// run sends lines until the end that was asked for, or an error of the connection. It
// holds no buffer while it waits.
func (w *watcher) run(ctx context.Context) error {
	if err := w.out.comment("fanin tail from " + w.at().String()); err != nil {
		return err
	}
	for {
		grown := w.tail.Sink.Grown() // before the look
		more, err := w.step(ctx)
		switch {
		case ctx.Err() != nil, w.tail.closed():
			return nil
		case err != nil:
			return err
		case more:
			continue
		case !w.query.follow:
			return w.out.end()
		}
		w.arrive()
		if err := w.wait(ctx, grown); err != nil {
			return err
		}
	}
}

// at is the position that was reached.
func (w *watcher) at() sink.Position {
	if w.search != nil {
		return w.search.At()
	}
	return w.reader.At()
}

// arrive notes that the end of the log was reached.
func (w *watcher) arrive() {
	if w.search != nil {
		w.reader.Seek(w.search.At())
		w.search.Close()
		w.search = nil
	}
	w.live = true
	w.arrived()
}

func (w *watcher) close() {
	if w.search != nil {
		w.search.Close()
	}
	w.reader.Close()
}

// wait waits for more lines, and then a moment longer: many small commits are cheaper to
// send together.
func (w *watcher) wait(ctx context.Context, grown <-chan struct{}) error {
	w.out.buf = nil
	for {
		select {
		case <-grown:
			retry.Pause(ctx, pace(w.tail.counts.watchers.Load()))
			return nil
		case <-time.After(keepAlive):
			if err := w.out.comment("still here"); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		case <-w.tail.quit:
			return nil
		}
	}
}

// step reads once and sends what matches; more reports whether there may be more.
func (w *watcher) step(ctx context.Context) (more bool, err error) {
	if w.search != nil {
		return w.look(ctx)
	}
	if w.live && w.query.lag > 0 {
		if err := w.skip(ctx); err != nil {
			return false, err
		}
	}
	if !w.tail.waitTurn(ctx) {
		return false, ctx.Err()
	}
	w.out.turn = w.tail.reading
	defer w.out.endTurn()
	buf := w.tail.buffer(bufferSize(w.tail.counts.watchers.Load())) // those that wait hold none
	defer w.tail.recycle(buf)
	defer w.out.borrow(&w.tail.outs)()
	text, at, err := w.reader.Read(ctx, *buf)
	var gone *sink.GoneError
	if errors.As(err, &gone) {
		return true, w.out.skipped(gone.From, gone.To, 0, false)
	}
	if err != nil || text == nil {
		return false, err
	}
	return true, w.lines(text, at, w.reader.At())
}

// look searches once and sends what was found; more reports whether there may be more.
func (w *watcher) look(ctx context.Context) (more bool, err error) {
	b, err := w.search.Next(ctx)
	var gone *sink.GoneError
	if errors.As(err, &gone) {
		return true, w.out.skipped(gone.From, gone.To, 0, false)
	}
	if err != nil || b == nil {
		return false, err
	}
	sent := uint64(0)
	for at, text := range b.Lines() {
		if err := w.line(text, at, b.End); err != nil {
			return false, err
		}
		sent++
	}
	w.tail.counts.lines.Add(sent)
	return true, w.out.flush(b.End)
}

// lines sends the lines of text, which is between two positions.
func (w *watcher) lines(text []byte, at, end sink.Position) (err error) {
	sent := uint64(0)
	w.query.match.Find(text, func(lo, hi int) bool {
		sent++
		from := sink.Position{Generation: at.Generation, Offset: at.Offset + int64(lo)}
		err = w.line(text[lo:hi], from, end)
		return err == nil
	})
	if err != nil {
		return err
	}
	w.tail.counts.lines.Add(sent)
	return w.out.flush(end)
}

// line sends one line, which is at a position, of text that ends at another.
func (w *watcher) line(text []byte, at, end sink.Position) error {
	next := sink.Position{Generation: at.Generation, Offset: min(at.Offset+int64(len(text)), end.Offset)}
	return w.out.line(next, w.tail.data(w.query.format, text[:len(text)-1], at))
}

// data returns a line as a format has it.
func (t *Tail) data(format string, text []byte, at sink.Position) []byte {
	return Data(format, t.Sink.Format, text, at)
}

// skip moves a watcher that is too far behind to the end of the log, and reports exactly
// what it missed.
func (w *watcher) skip(ctx context.Context) error {
	from, to := w.reader.At(), w.tail.Sink.End()
	if w.tail.Sink.Distance(from, to) <= w.query.lag {
		return nil
	}
	n, exact, err := w.tail.Sink.Count(ctx, from, to)
	if err != nil {
		return fmt.Errorf("count the skipped lines: %w", err)
	}
	w.reader.Close()
	w.reader = w.tail.Sink.Reader(to)
	w.tail.counts.skips.Add(1)
	w.tail.counts.skipped.Add(n)
	return w.out.skipped(from, to, n, exact)
}
