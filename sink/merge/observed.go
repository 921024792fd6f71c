package merge

import (
	"cmp"
	"context"
	"time"

	"fanin/internal/retry"
	"fanin/sink"
)

// Observed is the Source of a log on this machine, which sink.Observe returned.
type Observed struct{ *sink.Sink }

// Open begins to read, see Source.
func (o Observed) Open(at sink.Position) Text {
	return &observedText{o.Reader(at), o.Times(), o.Sink}
}

// End is where the log ends, see Source.
func (o Observed) End(ctx context.Context) (sink.Position, error) {
	err := o.Refresh(ctx)
	return o.Sink.End(), err
}

// observedText reads an observed log.
type observedText struct {
	*sink.Reader
	times *sink.Times
	log   *sink.Sink
}

func (x *observedText) Spans(dst []sink.Span, text []byte, at sink.Position) ([]sink.Span, error) {
	return x.times.Spans(dst, text, at)
}

// lookEvery is how often a log is looked at that is followed.
const lookEvery = 50 * time.Millisecond

func (x *observedText) Wait(ctx context.Context) error {
	if err := retry.Pause(ctx, lookEvery); err != nil {
		return err
	}
	return x.log.Refresh(ctx)
}

func (x *observedText) Close() error { return cmp.Or(x.Reader.Close(), x.times.Close()) }
