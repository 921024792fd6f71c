package collector

import (
	"context"

	natsin "fanin/ingest/nats"

	"github.com/prometheus/client_golang/prometheus"

	zmqpub "fanin/sink/livetail/zmq"
)

// listener is a part of the configuration that is open: an input, HTTP, or the listener for
// workers.
type listener struct {
	part
	kind, address string

	begin    func(context.Context) error // starts what goes out, before the first line comes; nil: nothing is to do
	serve    func() error                // nil: it brings no lines
	shutdown func(context.Context) error // ends serve: what was taken is finished
	stopOut  func()                      // ends what goes out through it; nil: nothing does
	close    func()                      // after the log was closed, or when it has ended
	handover
	limit func(conns int) // sets how many connections it may accept; nil: it cannot change
	lasts bool            // it serves until the log is closed

	trouble func() string // why it brings no lines, or fewer; nil: never
	metrics []prometheus.Collector
	refused refusedStore // nil: it keeps nothing that the log refused

	subscribers func() []zmqpub.Subscriber // of ZeroMQ; nil: it has none

	ended chan struct{} // closed when serve has returned
	life
}

// life is how long a listener stays that another one has replaced.
type life struct {
	staying context.Context    // ends when its last connections are to end
	end     context.CancelFunc // ends staying
	free    chan struct{}      // closed when another one may begin in its place
	gone    chan struct{}      // closed when nothing of it is left
	before  []*listener        // those that it replaced, and that may still be there
}

// replaces notes the listeners that this one replaces.
func (l *life) replaces(x *listener) {
	for _, y := range append(x.before, x) {
		if !y.isGone() {
			l.before = append(l.before, y)
		}
	}
}

func (l *life) isGone() bool {
	select {
	case <-l.gone:
		return true
	default:
		return false
	}
}

// endAll ends what is left of the listeners that it replaced, and of itself.
func (l *life) endAll() {
	for _, y := range l.before {
		y.end()
	}
	l.end()
}

// handover is how a listener leaves its place to another one that has the same sockets.
type handover struct {
	retire func()                // returns when the other one may serve; nil: only shutdown ends it
	rest   func(context.Context) // waits for what it still has then, such as connections
	begun  <-chan struct{}       // closed when its shutdown reads what waits in a socket; nil: nothing does
}

// reason is why it brings no lines, "" while it does.
func (x *listener) reason() string {
	if x.trouble == nil {
		return ""
	}
	return x.trouble()
}

// name is how people know it.
func (x *listener) name() string { return x.kind + " " + x.address }

// refusedStore keeps messages that the log refused, so that they can be published again.
type refusedStore interface {
	Refused() ([]natsin.Refused, error)
	Replay(ctx context.Context) (int, error)
}
