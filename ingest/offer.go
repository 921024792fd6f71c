package ingest

import (
	"cmp"
	"context"
	"errors"
	"time"

	"fanin/internal/counters"
	"fanin/internal/lines"
	"fanin/internal/wire"
)

// SetSession sets what an agent's hello determines of its batches: the agent, and the
// host of all lines, unless the agent may name any. When the agent's clock is wrong, the
// batch was read at now.
func SetSession(b *wire.Batch, h *wire.Hello, trustHost bool, now time.Time) {
	b.Agent, b.Host = h.Owner(), cmp.Or(h.Host, h.Agent)
	if !trustHost {
		b.DropHosts()
	}
	b.CorrectTime(now)
}

// Offer appends a batch that can be sent again, and counts its lines. Errors that decide
// the outcome are returned bare: *wire.Expected and *wire.Refused. With any other error
// the outcome is unknown, and the sender repeats the batch.
func Offer(ctx context.Context, out wire.Appender, in *counters.Input, b *wire.Batch) error {
	n := 0
	if len(b.Text) > 0 {
		n = lines.Count(b.Text)
		in.Received(n, len(b.Text))
	}
	err := out.Append(ctx, *b)
	if err == nil {
		return nil // before variables whose addresses are taken, which would be allocated
	}
	var expected *wire.Expected
	var refused *wire.Refused
	switch {
	case errors.As(err, &expected):
		return expected
	case errors.As(err, &refused):
		return refused
	case Decided(err):
		return &wire.Refused{Reason: err.Error()}
	}
	in.Rejected(counters.Retry, n)
	return err
}

// Decided reports whether an error of Append, or nil, is an outcome that no retry
// changes. The sink has counted the lines then.
func Decided(err error) bool {
	return err == nil || errors.Is(err, wire.ErrRefused) || errors.As(err, new(*wire.Expected))
}

// Lost counts lines that cannot be sent again and for which Append returned err. What is
// decided the sink has counted.
func Lost(in *counters.Input, lines int, err error) {
	if !Decided(err) {
		in.Unsure(lines)
	}
}

// LostReason is the reason for which a connection ends whose lines may not be written.
func LostReason(err error) string {
	switch {
	case errors.Is(err, wire.ErrRefused):
		return "refused"
	case errors.Is(err, wire.ErrDraining):
		return "draining"
	}
	return "unknown"
}
