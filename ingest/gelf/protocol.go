package gelf

import (
	"cmp"
	"context"
	"sync"

	"fanin/ingest"
	"fanin/ingest/stream"
	"fanin/internal/counters"
	"fanin/internal/wire"
)

// Protocol serves connections that send messages. Set the fields, then make its Format. Zero
// fields have the defaults named.
type Protocol struct {
	Settings Settings
	Out      wire.Appender                    // commits the lines; required
	Inputs   *counters.Set                    // counts lines; shared by all inputs of a process; nil: its own
	Notice   func(format string, args ...any) // reports in the log of lines what was lost; nil: nothing does

	lines   *counters.Input
	metrics metrics
	unread  *ingest.Losses // bytes that a stop left in sockets
	workers sync.Pool      // of *worker: a connection has one while it reads messages
}

// Format returns the row of p in a listener's table. It matches every connection.
func (p *Protocol) Format() stream.Format {
	p.Inputs = cmp.Or(p.Inputs, new(counters.Set))
	p.Settings.prepare()
	p.metrics = metrics{p.Settings.Metrics}
	p.metrics.prepare()
	p.lines = p.Inputs.New(inputName, counters.None)
	if p.Notice == nil {
		p.Notice = func(string, ...any) {}
	}
	p.unread = ingest.NewUnread(p.Settings.Metrics, p.Notice, inputName)
	p.workers.New = func() any {
		w := &worker{scanner: p.Settings.New()}
		w.scanner.lines = p.lines
		return w
	}
	return stream.Format{Name: inputName, Serve: p.serve, Stopped: p.unread.Flush, Reasons: []string{
		"displaced", "idle", "refused", "draining", "unknown",
	}}
}

// worker is what a connection needs to read messages.
type worker struct {
	scanner *Scanner
	line    []byte
	marks   []wire.Mark
}

// trim releases the memory that one large message needed.
func (w *worker) trim() {
	w.scanner.trim()
	w.line = trim(w.line)
}

func (p *Protocol) release(w *worker) {
	w.trim()
	clear(w.marks)
	p.workers.Put(w)
}

// blockSize is the largest read.
const blockSize = 256 << 10

// serve reads messages until the peer ends, or the listener drains.
func (p *Protocol) serve(ctx context.Context, sc *stream.Conn) error {
	c := &conn{Conn: sc, p: p, appending: ctx, in: stream.NewIntake(sc, blockSize)}
	return c.serve()
}
