// Package natsconn is what this module knows of NATS: how a program logs in and stays
// connected, where agents and collectors meet, which JetStream streams may be trusted
// with lines, and how programs are found as a service. All that use NATS connect here.
package natsconn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// Dialer makes connections that come back by themselves, for ever, and that keep
// nothing for the server while it is away. Zero fields take the defaults named; each
// function may be nil.
type Dialer struct {
	Login       Login
	Name        string        // of the connection, for operators
	InboxPrefix string        // of the subjects of answers; default: the library's
	Timeout     time.Duration // of one attempt to connect; default 5 s
	PingEvery   time.Duration // two pings without an answer end a connection; default 5 s

	Up        func(nc *nats.Conn, again bool) // a connection was made; again: not the first one
	Lost      func(nc *nats.Conn, err error)  // the connection ended, and not by Close
	Failed    func(nc *nats.Conn, err error)  // an attempt to connect failed
	Forbidden func(*ForbiddenError)           // the server forbids an operation
}

// Dial returns at once: the server may be absent, and is then tried again and again.
// Only a mistake in the login is an error.
func (d *Dialer) Dial() (*nats.Conn, error) {
	options, err := d.Login.options()
	if err != nil {
		return nil, err
	}
	options = append(options, nats.Name(d.Name), nats.Timeout(cmp.Or(d.Timeout, 5*time.Second)),
		nats.PingInterval(cmp.Or(d.PingEvery, 5*time.Second)), nats.MaxPingsOutstanding(2),
		nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true), nats.IgnoreAuthErrorAbort(), nats.ReconnectBufSize(-1),
		nats.ReconnectWait(500*time.Millisecond), nats.ReconnectJitter(250*time.Millisecond, 250*time.Millisecond),
		nats.PermissionErrOnSubscribe(true), d.handle)
	if d.InboxPrefix != "" {
		options = append(options, nats.CustomInboxPrefix(d.InboxPrefix))
	}
	nc, err := nats.Connect(d.Login.URL, options...)
	if err != nil {
		return nil, fmt.Errorf("connect to the NATS server %s: %w", d.Login.URL, err)
	}
	return nc, nil
}

// handle sets the library's handlers.
func (d *Dialer) handle(o *nats.Options) error {
	up := func(again bool) nats.ConnHandler {
		return func(nc *nats.Conn) {
			if d.Up != nil {
				d.Up(nc, again)
			}
		}
	}
	o.ConnectedCB, o.ReconnectedCB = up(false), up(true)
	o.DisconnectedErrCB = func(nc *nats.Conn, err error) {
		if d.Lost != nil && !nc.IsClosed() {
			d.Lost(nc, cmp.Or(err, errors.New("it was closed")))
		}
	}
	o.ReconnectErrCB = d.failed
	o.AsyncErrorCB = func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if f := AsForbidden(err); f != nil && d.Forbidden != nil {
			d.Forbidden(f)
		}
	}
	return nil
}

// failed reports a failed attempt. ErrNoServers reports nothing new: it only sums up
// the attempts before it.
func (d *Dialer) failed(nc *nats.Conn, err error) {
	if d.Failed == nil || err == nil || errors.Is(err, nats.ErrNoServers) {
		return
	}
	d.Failed(nc, err)
}

// WaitConnected waits until nc is connected. Its error is the context's. A rejected
// login, or a failed TLS handshake, is not reported to the library's handlers: it is
// reported to failed, again and again; failed may be nil.
func WaitConnected(ctx context.Context, nc *nats.Conn, failed func(*nats.Conn, error)) error {
	up := nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer nc.RemoveStatusListener(up)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !nc.IsConnected() {
		if err := nc.LastError(); err != nil && failed != nil && !errors.Is(err, nats.ErrNoServers) {
			failed(nc, err)
		}
		select {
		case <-up:
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}

// WhileConnected returns a context that ends with ctx, and with the cause
// nats.ErrDisconnected when the connection is lost: the server has forgotten then what
// it was asked. stop releases it.
func WhileConnected(ctx context.Context, nc *nats.Conn) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	lost := nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	go func() { // ends with stop
		select {
		case <-lost:
			cancel(nats.ErrDisconnected)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		nc.RemoveStatusListener(lost)
		cancel(nil)
	}
}
