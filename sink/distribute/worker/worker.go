// Package worker receives lines from a collector's work distributor: each line of a group
// goes to one worker until one has acknowledged it.
//
//	w := worker.Worker{Address: "127.0.0.1:6791", Options: protocol.Hello{Group: "mail"},
//		Handle: func(ctx context.Context, d *worker.Delivery) error {
//			for _, line := range d.Lines() {
//				send(line.Text) // a line that is delivered again has the same line.ID
//			}
//			return nil // all lines are done
//		}}
//	err := w.Run(ctx)
//
// docs/workers.md describes what is promised, the options, and how a Go module outside of
// fanin uses this package.
package worker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"fanin/internal/escape"
	"fanin/internal/retry"
	"fanin/sink/distribute/protocol"
)

// Worker is one worker: one connection, and one delivery at a time. To work in parallel,
// run several. Set the fields, then Run.
//
// If the collector is a member of a cluster, the worker has one connection for each partition, to the
// collector that hands out its lines, and still one delivery at a time.
type Worker struct {
	Address string         // host:port of the collector's [collector.work]; of a cluster, any member's
	TLS     *tls.Config    // nil: plain TCP
	Options protocol.Hello // Group is required

	// Dial, if not nil, connects instead of Address and TLS.
	Dial func(ctx context.Context) (net.Conn, error)

	// Explain, if not nil, adds to a TLS error what it means and what to do about it.
	Explain func(err error) error

	// Handle processes a delivery; required. Nil acknowledges all lines that it did not
	// answer itself. ErrRelease returns them without an attempt. Any other error reports
	// them as failed, which counts as an attempt. ctx ends when the worker is to stop.
	Handle func(ctx context.Context, d *Delivery) error

	// Accepted, if not nil, is called when answers to lines from to to-1 of delivery n are
	// durable: those lines are never delivered again. With a cluster, calls may be at the same time.
	Accepted func(n uint64, from, to int)

	// Welcomed, if not nil, is called at the beginning of each connection.
	Welcomed func(w protocol.Welcome)

	Log *slog.Logger // nil: discard

	turn   chan struct{} // shared by the connections to a cluster: one of them handles a delivery at a time
	serial uint64        // of the connection to a cluster
}

// ErrRelease is the error of Handle that returns lines without an attempt.
var ErrRelease = errors.New("released")

// RefusedError is the collector's refusal of this worker.
type RefusedError struct{ Reason string }

// Error returns the collector's reason.
func (e *RefusedError) Error() string { return "the collector refuses: " + escape.String(e.Reason) }

// The pause before the next connection doubles from firstPause to longestPause. After a
// connection that lasted for steady it starts again.
const (
	firstPause   = 50 * time.Millisecond
	longestPause = 5 * time.Second
	steady       = 10 * time.Second
)

// Run connects, again whenever the connection ends, and works until ctx ends. It returns
// an error only if the collector refuses the worker before it was ever welcomed: another
// attempt would end the same way.
func (w *Worker) Run(ctx context.Context) error {
	if w.Log == nil {
		w.Log = slog.New(slog.DiscardHandler)
	}
	pause := retry.Backoff{Min: firstPause, Max: longestPause, Jitter: true}
	welcomed := false
	for ctx.Err() == nil {
		began := time.Now()
		ok, err := w.connect(ctx)
		welcomed = welcomed || ok
		var refused *RefusedError
		if errors.As(err, &refused) && refused.Reason == protocol.ReasonCluster {
			return w.follow(ctx)
		}
		if errors.As(err, &refused) && !welcomed {
			return err
		}
		if ctx.Err() != nil {
			break
		}
		if err != nil && w.TLS != nil && w.Explain != nil {
			err = w.Explain(err)
		}
		if time.Since(began) > steady {
			pause.Reset()
		}
		in := pause.Next()
		w.Log.Warn("no connection to the collector; trying again", "collector", w.Address, "in", in, "err", err)
		retry.Pause(ctx, in)
	}
	return nil
}

// welcomeWithin is how long a collector may take to answer a greeting.
const welcomeWithin = 10 * time.Second

// connect works over one connection until it ends.
func (w *Worker) connect(ctx context.Context) (welcomed bool, err error) {
	nc, err := w.dial(ctx)
	if err != nil {
		return false, err
	}
	defer nc.Close()
	r := protocol.NewReader(nc, 64<<10)
	welcome, err := w.greet(ctx, nc, r)
	if err != nil {
		return false, err
	}
	if w.Welcomed != nil {
		w.Welcomed(*welcome)
	}
	return true, newSession(w, nc, welcome).run(ctx, r)
}

// greet sends the greeting and reads the answer.
func (w *Worker) greet(ctx context.Context, nc net.Conn, r *protocol.Reader) (*protocol.Welcome, error) {
	nc.SetDeadline(time.Now().Add(welcomeWithin))
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := nc.Write(protocol.AppendHello(nil, &w.Options)); err != nil {
		return nil, fmt.Errorf("greet the collector: %w", err)
	}
	const question = "is that the address of the collector's [collector.work]?"
	f, err := r.Frame()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fmt.Errorf("no welcome from %s within %v: %s (%w)", w.Address, welcomeWithin, question, err)
	case err != nil:
		return nil, fmt.Errorf("no welcome from %s: %s (%w)", w.Address, question, err)
	case f.Kind == protocol.KindFault:
		return nil, &RefusedError{f.Reason}
	case f.Kind == protocol.KindPlaces && w.Options.Cluster:
		return nil, &movedError{&f.Places}
	case f.Kind != protocol.KindWelcome:
		return nil, fmt.Errorf("%s is not a work distributor: it answers %q", w.Address, f.Kind)
	}
	if stop() {
		nc.SetDeadline(time.Time{})
	}
	return &f.Welcome, nil
}

func (w *Worker) dial(ctx context.Context) (net.Conn, error) {
	if w.Dial != nil {
		return w.Dial(ctx)
	}
	d := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}
	if w.TLS == nil {
		return d.DialContext(ctx, "tcp", w.Address)
	}
	return (&tls.Dialer{NetDialer: d, Config: w.TLS}).DialContext(ctx, "tcp", w.Address)
}
