package merge

import (
	"context"
	"errors"
	"time"

	"fanin/sink"
)

// feed reads one log ahead of its merge.
type feed struct {
	log    Log
	follow bool
	free   chan *block // to read into
	full   chan *block // of all feeds of the merge; it has room for all blocks
}

// run reads until the log ends, or ctx.
func (f *feed) run(ctx context.Context) {
	for {
		select {
		case b := <-f.free:
			b.fill(ctx, f.log, f.follow)
			last := b.end || b.err != nil && !isGap(b.err)
			f.full <- b
			if last {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// isGap reports whether reading continues behind an error.
func isGap(err error) bool {
	var gone *sink.GoneError
	return errors.As(err, &gone)
}

// fill reads the next lines of a log into a block.
func (b *block) fill(ctx context.Context, log Log, follow bool) {
	b.spans, b.end, b.err = b.spans[:0], false, nil
	for {
		b.text, b.at, b.err = log.Read(ctx, b.buf)
		switch {
		case b.err != nil:
			return
		case len(b.text) > 0:
			b.read = time.Now()
			b.spans, b.err = log.Spans(b.spans, b.text, b.at)
			return
		case !follow:
			b.end = true
			return
		}
		if b.err = log.Wait(ctx); b.err != nil {
			return
		}
	}
}
