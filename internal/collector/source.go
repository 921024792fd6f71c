package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"

	natsin "fanin/ingest/nats"

	"github.com/prometheus/client_golang/prometheus"

	"fanin/ingest"
	"fanin/internal/escape"
	"fanin/sink/distribute"
)

// source is an input that is open, or another way in.
type source struct {
	kind, address string

	serve    func() error                // nil: it brings no lines
	shutdown func(context.Context) error // ends serve: what was taken is finished
	stopOut  func()                      // ends what goes out through it; nil: nothing does
	close    func()                      // after the log was closed

	trouble func() string // why it brings no lines, or fewer; nil: never
	metrics []prometheus.Collector
	refused refusedStore // nil: it keeps nothing that the log refused
}

// reason is why it brings no lines, "" while it does.
func (x *source) reason() string {
	if x.trouble == nil {
		return ""
	}
	return x.trouble()
}

// refusedStore keeps messages that the log refused, so that they can be published again.
type refusedStore interface {
	Refused() ([]natsin.Refused, error)
	Replay(ctx context.Context) (int, error)
}

// sources are all inputs, and other listeners, that are open.
type sources struct {
	broken chan error // of a source that ended by itself

	running sync.WaitGroup
	mu      sync.Mutex
	open    []*source
}

func newSources() sources { return sources{broken: make(chan error, 16)} }

func (l *sources) add(x *source) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = append(l.open, x)
}

// all are the sources that are open now.
func (l *sources) all() []*source {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.open)
}

// serving are those that bring lines, or serve workers.
func (l *sources) serving() []*source {
	return slices.DeleteFunc(l.all(), func(x *source) bool { return x.serve == nil })
}

// serve runs each source on a goroutine of its own, which shutdown ends.
func (l *sources) serve() {
	for _, x := range l.serving() {
		l.running.Go(func() {
			err := x.serve()
			if err == nil || errors.Is(err, ingest.ErrServerClosed) || errors.Is(err, distribute.ErrClosed) {
				return
			}
			select {
			case l.broken <- fmt.Errorf("listener %s %s: %w", x.kind, x.address, err):
			default: // one is enough
			}
		})
		escape.Fprintf(os.Stderr, "listening %s %s\n", x.kind, x.address)
	}
}

// shutdown ends all that bring lines, at the same time.
func (l *sources) shutdown(ctx context.Context, log *slog.Logger) {
	var all sync.WaitGroup
	for _, x := range l.serving() {
		all.Go(func() { // ends with ctx
			if err := x.shutdown(ctx); err != nil {
				log.Error("the input did not finish in time; agents send unacknowledged lines again",
					"listener", x.kind+" "+x.address, "err", err)
			}
		})
	}
	all.Wait()
}

// stopOut ends what goes out.
func (l *sources) stopOut() {
	for _, x := range l.all() {
		if x.stopOut != nil {
			x.stopOut()
		}
	}
}

// wait waits until every serve has returned.
func (l *sources) wait() { l.running.Wait() }

// close closes what the sources have opened.
func (l *sources) close() {
	for _, x := range l.all() {
		x.close()
	}
}
