package gelf

import (
	"time"

	"fanin/internal/lines"
	"fanin/internal/wire"
)

// gathering collects lines of a connection's messages to append them together. Without a
// line it holds nothing.
type gathering struct {
	c      *conn
	w      *worker
	batch  wire.Batch // its Text is a block of the budget
	labels int        // bytes that its marks hold
	origin Origin
}

// appendError is an error of Append, not of the connection.
type appendError struct {
	error
	lines int // of the batch
}

func (e *appendError) Unwrap() error { return e.error }

func (c *conn) newGathering() *gathering {
	return &gathering{c: c, origin: Origin{Host: c.Host, Now: time.Now()}}
}

// addMessages adds a message, or several with blanks between them.
func (g *gathering) addMessages(b []byte) error {
	for b = trimStart(b); len(b) > 0; {
		w := g.worker()
		line, labels, rest := w.scanner.Scan(w.line[:0], b, &g.origin)
		w.line, b = line, rest
		if err := g.add(line, labels); err != nil {
			return err
		}
	}
	return nil
}

// addText adds a part of a message as it is.
func (g *gathering) addText(text []byte) error {
	w := g.worker()
	w.line = w.scanner.appendText(w.line[:0], text)
	return g.add(w.line, wire.Labels{Host: g.origin.Host, Source: g.c.p.Settings.Source})
}

func (g *gathering) worker() *worker {
	if g.w == nil {
		g.w = g.c.p.workers.Get().(*worker)
	}
	return g.w
}

// add adds a line without its newline, or several.
func (g *gathering) add(line []byte, labels wire.Labels) error {
	size := len(line) + 1 + wire.MarkBytes + len(labels.Host) + len(labels.Source) + len(labels.Attributes)
	if len(g.batch.Text)+g.labels+size > cap(g.batch.Text) || !g.batch.Label(labels) {
		if err := g.begin(size); err != nil {
			return err
		}
		g.batch.Label(labels)
	}
	g.labels += size - len(line) - 1
	g.batch.Text = append(append(g.batch.Text, line...), '\n')
	g.batch.Joined = g.batch.Joined || wire.IsRecord(line)
	return nil
}

// begin appends what was collected, and begins another batch, with a block that has space for
// size bytes.
func (g *gathering) begin(size int) error {
	if err := g.append(); err != nil {
		return err
	}
	block, err := g.c.Budget.Extend(g.c.appending, max(size, len(g.c.in.Bytes())))
	if err != nil {
		g.c.p.lines.Received(1, size)
		return &appendError{err, 1}
	}
	g.labels = 0
	g.batch = wire.Batch{Time: g.origin.Now.UnixMicro(), Input: g.c.p.lines.Name(), Host: g.c.Host,
		Source: g.c.p.Settings.Source, Text: block[:0], Marks: g.w.marks[:0]}
	return nil
}

// append appends what was collected.
func (g *gathering) append() error {
	text := g.batch.Text
	if cap(text) == 0 {
		return nil
	}
	n := lines.Count(text)
	g.c.p.lines.Received(n, len(text))
	g.w.trim() // it may be long before the lines are written
	err := g.c.p.Out.Append(g.c.appending, g.batch)
	g.c.Budget.Release(text)
	g.w.marks, g.batch = g.batch.Marks, wire.Batch{}
	if err != nil {
		return &appendError{err, n}
	}
	return nil
}

// finish appends what was collected, and ends g.
func (g *gathering) finish() error {
	err := g.append()
	if g.w != nil {
		g.c.p.release(g.w)
	}
	return err
}
