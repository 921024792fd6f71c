// Package worker takes lines from a collector's work distributor: each line of a
// group goes to one worker, until one has acknowledged it.
//
//	w := worker.Worker{Address: "127.0.0.1:6791", Options: protocol.Hello{Group: "mail"},
//		Handle: func(ctx context.Context, d *worker.Delivery) error {
//			for _, line := range d.Lines() {
//				send(line.Text) // line.ID tells a line that comes again
//			}
//			return nil // all of them are done
//		}}
//	err := w.Run(ctx)
package worker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"time"

	"fanin/internal/escape"
	"fanin/sink/distribute/protocol"
)

// Worker is one worker: one connection, and one delivery at a time. For more,
// run more. Set the fields, then Run.
type Worker struct {
	Address string      // host:port of the collector's [collector.work]
	TLS     *tls.Config // nil: plain TCP
	Options protocol.Hello

	// Dial, if not nil, connects instead of Address and TLS.
	Dial func(ctx context.Context) (net.Conn, error)

	// Explain, if not nil, says what an error of TLS means, and what to do about it.
	Explain func(err error) error

	// Handle does the work of a delivery. Nil acknowledges all lines of it that
	// it did not answer itself; ErrRelease gives them back untried; any other
	// error gives them back as failed, and counts as an attempt. ctx ends when the
	// worker is to stop.
	Handle func(ctx context.Context, d *Delivery) error

	// Accepted, if not nil, is told of answers that have become durable: those
	// lines never come again.
	Accepted func(n uint64, from, to int)

	// Welcomed, if not nil, is told what the collector said at the beginning.
	Welcomed func(w protocol.Welcome)

	Log *slog.Logger // nil: discard
}

// ErrRelease is what Handle returns to give lines back untried.
var ErrRelease = errors.New("released")

// RefusedError is the collector's word that this worker is not wanted.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "the collector refuses: " + escape.String(e.Reason) }

// Run connects, again whenever the connection ends, and works until ctx ends. It
// returns an error only when the collector refused the worker before it ever
// worked: another try would go the same way.
func (w *Worker) Run(ctx context.Context) error {
	if w.Log == nil {
		w.Log = slog.New(slog.DiscardHandler)
	}
	worked := false
	for wait := time.Duration(0); ctx.Err() == nil; {
		began := time.Now()
		welcomed, err := w.session(ctx)
		worked = worked || welcomed
		var refused *RefusedError
		if errors.As(err, &refused) && !worked {
			return err
		}
		if ctx.Err() != nil {
			break
		}
		if err != nil && w.TLS != nil && w.Explain != nil {
			err = w.Explain(err)
		}
		if time.Since(began) > 10*time.Second {
			wait = 0
		}
		wait = min(max(2*wait, 50*time.Millisecond), 5*time.Second)
		w.Log.Warn("no connection to the collector; trying again", "collector", w.Address, "in", wait, "err", err)
		select {
		case <-time.After(wait/2 + rand.N(wait/2)):
		case <-ctx.Done():
		}
	}
	return nil
}

// welcomeWithin is how long a collector has to answer a greeting.
const welcomeWithin = 10 * time.Second

// session is one connection.
func (w *Worker) session(ctx context.Context) (welcomed bool, err error) {
	nc, err := w.dial(ctx)
	if err != nil {
		return false, err
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(welcomeWithin))
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := nc.Write(protocol.AppendHello(nil, &w.Options)); err != nil {
		return false, fmt.Errorf("greet the collector: %w", err)
	}
	r := protocol.NewReader(nc, 64<<10)
	f, err := r.Frame()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return false, fmt.Errorf("no welcome from %s within %v: is that the address of the collector's [collector.work]? (%w)", w.Address, welcomeWithin, err)
	case err != nil:
		return false, fmt.Errorf("no welcome from %s: is that the address of the collector's [collector.work]? (%w)", w.Address, err)
	case f.Kind == protocol.KindFault:
		return false, &RefusedError{f.Reason}
	case f.Kind != protocol.KindWelcome:
		return false, fmt.Errorf("%s is no work distributor: it answers %q", w.Address, f.Kind)
	}
	if stop() {
		nc.SetDeadline(time.Time{})
	}
	if w.Welcomed != nil {
		w.Welcomed(f.Welcome)
	}
	return true, newSession(w, nc, f.Welcome.Lease).run(ctx, r)
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
