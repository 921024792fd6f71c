package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"

	"fanin/ingest"
	"fanin/internal/escape"
	"fanin/sink/distribute"
)

// listeners are all that are open.
type listeners struct {
	broken chan error // of a listener that ended by itself

	running sync.WaitGroup // those that end before the log is closed
	lasting sync.WaitGroup // the others
	mu      sync.Mutex
	open    []*listener
}

func newListeners() listeners { return listeners{broken: make(chan error, 16)} }

// add adds listeners behind the others.
func (l *listeners) add(all ...*listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = append(l.open, all...)
}

// set puts others in the place of all.
func (l *listeners) set(all []*listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = all
}

// all are those that are open now.
func (l *listeners) all() []*listener {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.open)
}

// serving are those that bring lines, or serve others.
func (l *listeners) serving() []*listener {
	return slices.DeleteFunc(l.all(), func(x *listener) bool { return x.serve == nil })
}

// begin starts what goes out through all.
func (l *listeners) begin(ctx context.Context) error {
	for _, x := range l.all() {
		if x.begin == nil {
			continue
		}
		if err := x.begin(ctx); err != nil {
			return err
		}
	}
	return nil
}

// serve runs each listener on a goroutine of its own, which shutdown ends.
func (l *listeners) serve() {
	for _, x := range l.all() {
		l.start(x)
	}
}

// start runs one.
func (l *listeners) start(x *listener) {
	if x.serve == nil {
		close(x.ended)
		return
	}
	group := &l.running
	if x.lasts {
		group = &l.lasting
	}
	group.Go(func() { // ends by shutdown, or by close if it lasts
		defer close(x.ended)
		err := x.serve()
		if err == nil || errors.Is(err, ingest.ErrServerClosed) || errors.Is(err, distribute.ErrClosed) {
			return
		}
		select {
		case l.broken <- fmt.Errorf("listener %s: %w", x.name(), err):
		default: // one is enough
		}
	})
	escape.Fprintf(os.Stderr, "listening %s\n", x.name())
}

// shutdown ends all that bring lines, at the same time.
func (l *listeners) shutdown(ctx context.Context, log *slog.Logger) {
	var all sync.WaitGroup
	for _, x := range l.serving() {
		all.Go(func() { x.finish(ctx, log) }) // ends with ctx
	}
	all.Wait()
}

// finish ends one that brings lines.
func (x *listener) finish(ctx context.Context, log *slog.Logger) {
	if x.serve == nil {
		return
	}
	if err := x.shutdown(ctx); err != nil {
		log.Error("the input did not finish in time; agents send unacknowledged lines again",
			"listener", x.name(), "err", err)
	}
}

// stopOut ends what goes out.
func (l *listeners) stopOut() {
	for _, x := range l.all() {
		x.endOut()
	}
}

func (x *listener) endOut() {
	if x.stopOut != nil {
		x.stopOut()
	}
}

// wait waits until every serve has returned, but of those that last.
func (l *listeners) wait() { l.running.Wait() }

// close closes what the listeners have opened.
func (l *listeners) close() {
	for _, x := range l.all() {
		x.close()
	}
	l.lasting.Wait()
}
