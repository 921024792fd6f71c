package scenario

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"fanin/e2e/load"
	"fanin/internal/wire"
)

// testimony is one stream of a witness.
type testimony struct {
	source int
	id     wire.StreamID
	sent   int    // lines given at least once
	acked  int    // lines acknowledged
	offset int64  // bytes acknowledged
	tail   []byte // the last of them
	err    error
}

// run sends batch after batch until stop is closed, each until its outcome is
// known.
func (t *testimony) run(ctx context.Context, to wire.Appender, stop <-chan struct{}) error {
	if err := t.settle(ctx, to, wire.Batch{Op: wire.OpOpen, Control: wire.Control{Identity: t.id[:]}}); err != nil {
		return err
	}
	var text []byte
	for {
		n := 1 + rand.IntN(200)
		text = load.Seed(0).Block(text[:0], t.source, t.acked, n)
		t.sent = t.acked + n
		after := tailOf(append(t.tail, text...))
		b := wire.Batch{Text: text, End: t.offset + int64(len(text)), Time: time.Now().UnixMicro(), After: wire.TailHash(after)}
		if err := t.settle(ctx, to, b); err != nil {
			return err
		}
		t.acked, t.offset, t.tail = t.sent, b.End, after
		select {
		case <-stop:
			return nil
		case <-time.After(3 * time.Millisecond):
		}
	}
}

// settle gives b until it is acknowledged. No other answer is right: the stream
// stands where it was acknowledged last, or at the end of b.
func (t *testimony) settle(ctx context.Context, to wire.Appender, b wire.Batch) error {
	b.Stream, b.Source, b.Offset, b.Before = t.id, "witness", t.offset, wire.TailHash(t.tail)
	if b.Op == wire.OpOpen {
		b.End, b.After = b.Offset, b.Before
	}
	for {
		err := to.Append(ctx, b)
		var stands *wire.Expected
		switch {
		case err == nil:
			return nil
		case errors.As(err, &stands), errors.Is(err, wire.ErrRefused):
			return fmt.Errorf("an ack was forgotten: source %d has %d bytes acknowledged, and is now answered: %w", t.source, t.offset, err)
		case ctx.Err() != nil:
			return fmt.Errorf("source %d: no outcome within a minute: %w", t.source, err)
		}
		time.Sleep(5 * time.Millisecond) // the connection is lost, and being made anew
	}
}

func tailOf(b []byte) []byte {
	return append([]byte(nil), b[max(0, len(b)-wire.TailSize):]...)
}
