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

	"fanin/ingest"
	"fanin/ingest/stream"
	"fanin/internal/counters"
	"fanin/internal/lines"
	"fanin/internal/wire"
)

// Protocol serves connections that send plain lines. Set the fields, then make its
// Format. Zero fields have the defaults named.
type Protocol struct {
	Out    wire.Appender // commits the lines; required
	Inputs *counters.Set // counts lines; shared by all inputs of a process; nil: its own

	Source    string // of the lines; default "tcp"
	MaxLine   int    // longer lines are split; default wire.MaxLine, from 256 bytes to 2 MiB
	BlockSize int    // the largest read; default 256 KiB

	lines *counters.Input
}

// Format returns the row of p in a listener's table. It matches every connection, so it
// is the last row.
func (p *Protocol) Format() stream.Format {
	p.Inputs = cmp.Or(p.Inputs, new(counters.Set))
	p.Source = cmp.Or(p.Source, "tcp")
	p.MaxLine = min(max(cmp.Or(p.MaxLine, wire.MaxLine), lines.MinLimit), wire.MaxText/2)
	block := min(max(cmp.Or(p.BlockSize, 256<<10), stream.FirstBlock), wire.MaxText/2)
	p.BlockSize = int(ingest.BlockSize(block))
	p.lines = p.Inputs.New("tcp", counters.None)
	return stream.Format{Name: "plain", Serve: p.serve, Reasons: []string{
		"http", "displaced", "idle", "refused", "draining", "unknown",
	}}
}

// serve reads lines until the peer ends, or the listener drains.
func (p *Protocol) serve(ctx context.Context, sc *stream.Conn) error {
	c := &conn{Conn: sc, p: p, appending: ctx, outcome: make(chan error, 1)}
	c.in = stream.NewIntake(sc, p.BlockSize)
	return c.serve()
}
