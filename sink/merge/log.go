package merge

import (
	"context"

	"fanin/sink"
)

// Log is what a merge reads of one partition: its lines in their order, and when they were read. One goroutine uses it.
type Log interface {
	// Read returns the next whole lines and the place of the first; at the end, nothing. They are in buf unless the
	// first line is longer than that. After a *sink.GoneError the next call reads behind the gap.
	Read(ctx context.Context, buf []byte) (text []byte, at Place, err error)

	// Spans appends when the lines of a text were read that Read just returned, see sink.Times.
	Spans(dst []sink.Span, text []byte, at Place) ([]sink.Span, error)

	// Wait waits until there may be more to read.
	Wait(ctx context.Context) error

	// Close ends the reading.
	Close() error
}
