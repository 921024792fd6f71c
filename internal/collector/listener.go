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
	zmqpub "fanin/sink/livetail/zmq"
)

// listener is an input that is open, or the listener for workers.
type listener struct {
	kind, address string

	serve    func() error                // nil: it brings no lines
	shutdown func(context.Context) error // ends serve: what was taken is finished
	stopOut  func()                      // ends what goes out through it; nil: nothing does
	close    func()                      // after the log was closed

	trouble func() string // why it brings no lines, or fewer; nil: never
	metrics []prometheus.Collector
	refused refusedStore // nil: it keeps nothing that the log refused

	subscribers func() []zmqpub.Subscriber // of ZeroMQ; nil: it has none
}

// reason is why it brings no lines, "" while it does.
func (x *listener) reason() string {
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

// listeners are all that are open.
type listeners struct {
	broken chan error // of a listener that ended by itself

	running sync.WaitGroup
	mu      sync.Mutex
	open    []*listener
}

func newListeners() listeners { return listeners{broken: make(chan error, 16)} }

func (l *listeners) add(x *listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = append(l.open, x)
}

// all are those that are open now.
func (l *listeners) all() []*listener {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.open)
}

// serving are those that bring lines, or serve workers.
func (l *listeners) serving() []*listener {
	return slices.DeleteFunc(l.all(), func(x *listener) bool { return x.serve == nil })
}

// serve runs each listener on a goroutine of its own, which shutdown ends.
func (l *listeners) serve() {
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
func (l *listeners) shutdown(ctx context.Context, log *slog.Logger) {
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
func (l *listeners) stopOut() {
	for _, x := range l.all() {
		if x.stopOut != nil {
			x.stopOut()
		}
	}
}

// wait waits until every serve has returned.
func (l *listeners) wait() { l.running.Wait() }

// close closes what the listeners have opened.
func (l *listeners) close() {
	for _, x := range l.all() {
		x.close()
	}
}
