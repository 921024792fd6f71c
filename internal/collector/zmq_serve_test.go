package collector

import (
	"errors"
	"testing"

	"fanin/ingest"
	"fanin/internal/zmtp"
)

// ending is a socket whose Serve ends when its turn comes.
type ending struct {
	zmqSocket
	err        error
	turn, done chan struct{}
}

func (x *ending) Serve() error {
	<-x.turn
	defer close(x.done)
	return x.err
}

// TestZMQServe: sockets that end together are no mistake; a mistake of one is reported,
// whichever ends first.
func TestZMQServe(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		errs []error
		want error
	}{
		{[]error{ingest.ErrServerClosed, zmtp.ErrClosed}, nil},
		{[]error{zmtp.ErrClosed, broken}, broken},
		{[]error{ingest.ErrServerClosed, broken}, broken},
		{[]error{broken, zmtp.ErrClosed}, broken},
		{[]error{nil, zmtp.ErrClosed}, nil},
	} {
		var all zmqSockets
		before := make(chan struct{})
		close(before)
		for _, err := range c.errs {
			x := &ending{err: err, turn: before, done: make(chan struct{})}
			all, before = append(all, x), x.done
		}
		if err := all.serve(); !errors.Is(err, c.want) {
			t.Errorf("%v: %v, want %v", c.errs, err, c.want)
		}
	}
}
