// Package plain reads plain lines: over connections, and in datagrams. Their senders are
// not answered.
//
//	Protocol.serve -- conn.readLines <- Intake    blocks of the memory budget
//	                    |
//	                  conn.handOver               one block is appended while the
//	                    |                         next one is read
//	                  conn.appendLines -> Out.Append
//
// A line is read into a block of the budget and stays there until Append returned its
// outcome. No line is copied, except for the beginning of one that the end of a block
// divides. Each line is appended once: when the outcome is unknown, the connection
// ends, and the lines are counted (fanin_unsure_lines_total) and reported.
package plain

import (
	"cmp"
	"context"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"fanin/ingest"
	"fanin/ingest/stream"
	"fanin/ingest/syslog"
	"fanin/internal/counters"
	"fanin/internal/lines"
	"fanin/internal/wire"
)

// Protocol serves connections that send plain lines. Set the fields, then make its
// Format. Zero fields have the defaults named.
type Protocol struct {
	Out    wire.Appender // commits the lines; required
	Inputs *counters.Set // counts lines; shared by all inputs of a process; nil: its own

	Input     string // the input's name; default "tcp"
	Source    string // of the lines; default "tcp"
	MaxLine   int    // longer lines are split; default wire.MaxLine, from 256 bytes to 2 MiB
	BlockSize int    // the largest read; default 256 KiB

	Syslog  *syslog.Settings                 // how messages of syslog are understood; nil: each is a line as it is
	Metrics *ingest.Metrics                  // counts what is wrong with frames; nil: its own
	Notice  func(format string, args ...any) // reports in the log of lines what was lost; nil: nothing does

	lines   *counters.Input
	wrong   map[string]prometheus.Counter // frames, by what is wrong
	skipped *ingest.Losses                // bytes of messages that were too long
	unread  *ingest.Losses                // bytes that a stop left in sockets
	marks   sync.Pool                     // of []wire.Mark, to be used again
}

// Format returns the row of p in a listener's table. It matches every connection, so it
// is the last row.
func (p *Protocol) Format() stream.Format {
	p.Inputs = cmp.Or(p.Inputs, new(counters.Set))
	p.Source = cmp.Or(p.Source, "tcp")
	p.MaxLine = min(max(cmp.Or(p.MaxLine, wire.MaxLine), lines.MinLimit), wire.MaxText/2)
	block := min(max(cmp.Or(p.BlockSize, 256<<10), stream.FirstBlock), wire.MaxText/2)
	p.BlockSize = int(ingest.BlockSize(block))
	p.lines = p.Inputs.New(cmp.Or(p.Input, "tcp"), counters.None)
	p.prepare()
	return stream.Format{Name: "plain", Serve: p.serve, Stopped: p.stopped, Reasons: []string{
		"http", "displaced", "idle", "refused", "draining", "unknown",
	}}
}

// prepare makes what counts losses.
func (p *Protocol) prepare() {
	p.Metrics = cmp.Or(p.Metrics, new(ingest.Metrics))
	p.wrong = p.Metrics.Counters("fanin_syslog_wrong_frames_total", "Messages with a wrong octet count, or that are "+
		"too long, by what is wrong.", "reason", wrongNumber, wrongLength, tooLong, cutShort)
	if p.Notice == nil {
		p.Notice = func(string, ...any) {}
	}
	skipped := p.Metrics.Counter("fanin_syslog_skipped_bytes_total", "Bytes of messages with an octet count that were "+
		"left out: the message was longer than max_line.", "", "")
	p.skipped = &ingest.Losses{Counter: skipped, Report: func(n int64) {
		p.Notice("LOST n=%d unit=bytes reason=too-long input=%s: messages with an octet count were longer than "+
			"max_line", n, p.lines.Name())
	}}
	p.unread = ingest.NewUnread(p.Metrics, p.Notice, p.lines.Name())
}

// stopped reports what was lost and not reported yet.
func (p *Protocol) stopped() {
	p.skipped.Flush()
	p.unread.Flush()
}

// serve reads lines until the peer ends, or the listener drains.
func (p *Protocol) serve(ctx context.Context, sc *stream.Conn) error {
	c := &conn{Conn: sc, p: p, appending: ctx, outcome: make(chan error, 1)}
	c.in = stream.NewIntake(sc, p.BlockSize)
	c.begin()
	return c.serve()
}

// takeMarks returns an empty list of marks.
func (p *Protocol) takeMarks() []wire.Mark {
	if marks, ok := p.marks.Get().(*[]wire.Mark); ok {
		return *marks
	}
	return nil
}

// keepMarks keeps a list of marks, which has nothing but zeros, for another batch.
func (p *Protocol) keepMarks(marks []wire.Mark) {
	if cap(marks) > 0 {
		marks = marks[:0]
		p.marks.Put(&marks)
	}
}

// withPID returns a source with the process that its lines are from; 0: it is not known.
func withPID(source string, pid int) string {
	if pid <= 0 {
		return source
	}
	return source + "[" + strconv.Itoa(pid) + "]"
}
