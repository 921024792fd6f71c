package ingest

import (
	"context"
	"errors"

	"fanin/internal/wire"
)

// Offer appends a batch that can be sent again. Errors that decide its outcome are
// returned bare: *wire.Expected and *wire.Refused. With any other error the outcome is
// unknown, and the sender repeats the batch.
func Offer(ctx context.Context, out wire.Appender, b wire.Batch) error {
	if err := b.Check(); err != nil {
		return err
	}
	err := out.Append(ctx, b)
	var expected *wire.Expected
	var refused *wire.Refused
	switch {
	case errors.As(err, &expected):
		return expected
	case errors.As(err, &refused):
		return refused
	case errors.Is(err, wire.ErrRefused):
		return &wire.Refused{Reason: err.Error()}
	}
	return err
}
