package livetail

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"fanin/internal/retry"
	"fanin/sink"
)

// The formats of an event's data.
const (
	formatLine = "line" // as in the file
	formatBody = "body" // without time, host and source
	formatJSON = "json" // {"position", "time", "host", "source", "body"}
)

// watcher sends the log to one request.
type watcher struct {
	tail   *Tail
	query  query
	reader *sink.Reader
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
	if err := w.out.comment("fanin tail from " + w.reader.At().String()); err != nil {
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
		w.live = true
		w.arrived()
		if err := w.wait(ctx, grown); err != nil {
			return err
		}
	}
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
	if w.live && w.query.lag > 0 {
		if err := w.skip(ctx); err != nil {
			return false, err
		}
	}
	buf := w.tail.buffer(bufferSize(w.tail.counts.watchers.Load()))
	defer w.tail.recycle(buf)
	if !w.tail.waitTurn(ctx) {
		return false, ctx.Err()
	}
	text, at, err := w.reader.Read(ctx, *buf)
	w.tail.endTurn()
	var gone *sink.GoneError
	if errors.As(err, &gone) {
		return true, w.out.skipped(gone.From, gone.To, 0, false)
	}
	if err != nil || text == nil {
		return false, err
	}
	return true, w.lines(text, at, w.reader.At())
}

// lines sends the lines of text, which is between two positions.
func (w *watcher) lines(text []byte, at, end sink.Position) error {
	sent := uint64(0)
	for len(text) > 0 {
		n := bytes.IndexByte(text, '\n') + 1
		line := text[:n]
		text = text[n:]
		from := at
		at.Offset = min(at.Offset+int64(n), end.Offset)
		if !w.query.match.Match(line) {
			continue
		}
		sent++
		if err := w.out.line(at, w.data(line[:n-1], from)); err != nil {
			return err
		}
	}
	w.tail.counts.lines.Add(sent)
	return w.out.flush(at)
}

// data returns the data of a line's event.
func (w *watcher) data(line []byte, at sink.Position) []byte {
	switch w.query.format {
	case formatBody:
		return w.tail.Sink.Parts(line).Body
	case formatJSON:
		f := w.tail.Sink.Parts(line)
		b, err := json.Marshal(struct {
			Position string `json:"position"`
			Time     string `json:"time,omitempty"`
			Host     string `json:"host,omitempty"`
			Source   string `json:"source,omitempty"`
			Body     string `json:"body"`
		}{at.String(), string(f.Time), string(f.Host), string(f.Source), string(f.Body)})
		if err == nil {
			return b
		}
	}
	return line
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
