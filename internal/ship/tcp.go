// Package ship carries batches from an agent to a collector: over TCP, each
// acknowledged after it was committed there, or over UDP, where nobody answers.
package ship

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"time"

	"fanin/internal/wire"
)

// TCP is an Appender whose nil means that the collector committed the batch. It
// keeps one connection, over which any number of streams have one batch each on
// the way. Set the fields, Run it, Append to it. Zero fields take the defaults
// named.
type TCP struct {
	Addrs     []string           // of one log, as host:port; tried in turn; required
	TLS       func() *tls.Config // for each connection anew; nil: plain TCP
	Explain   func(error) error  // says what an error of TLS means, and what to do; nil: it stays as it is
	Hello     wire.Hello         // who this is; Version is filled in
	OnWelcome func(wire.Welcome) // called for each connection, before anything is sent over it
	Compress  string             // "auto" (default): zstd unless the collector is on this machine; "zstd"; "none"
	Log       *slog.Logger       // default: discard

	PingEvery   time.Duration // default 5 s
	DeadAfter   time.Duration // without a byte from the collector and without one taken by it, see lives; default 15 s
	DialTimeout time.Duration // dialling, TLS and the welcome; default 10 s
	Linger      time.Duration // for the answer to a batch on its way whose context ended; default none
	MinBackoff  time.Duration // between connections; default 200 ms
	MaxBackoff  time.Duration // default 30 s

	link[*session]
	squeeze *squeezer
}

var _ wire.Appender = (*TCP)(nil)

func (t *TCP) defaults() {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&t.PingEvery, 5*time.Second)
	set(&t.DeadAfter, 15*time.Second)
	set(&t.DialTimeout, 10*time.Second)
	set(&t.MinBackoff, 200*time.Millisecond)
	set(&t.MaxBackoff, 30*time.Second)
	if t.Log == nil {
		t.Log = slog.New(slog.DiscardHandler)
	}
	t.Hello.Version = wire.Version
}

// Run keeps a connection until ctx ends.
func (t *TCP) Run(ctx context.Context) error {
	t.defaults()
	if len(t.Addrs) == 0 {
		return errors.New("no collector's address was given")
	}
	wait := t.MinBackoff
	for i := 0; ctx.Err() == nil; i++ {
		address := t.Addrs[i%len(t.Addrs)]
		welcomed, err := t.connect(ctx, address)
		if ctx.Err() != nil {
			break
		}
		if welcomed {
			wait = t.MinBackoff // it had worked
		}
		var f *fault
		if errors.As(err, &f) {
			wait = max(wait, f.wait)
		}
		t.lost(t.Log, address, err, wait)
		if (i+1)%len(t.Addrs) == 0 || f != nil {
			sleep(ctx, wait/2+rand.N(wait)) // so that a fleet does not come back as one
			wait = min(2*wait, t.MaxBackoff)
		}
	}
	return ctx.Err()
}

// connect makes one connection and serves it until it ends.
func (t *TCP) connect(ctx context.Context, address string) (welcomed bool, err error) {
	s, w, err := t.dial(ctx, address)
	if err != nil {
		return false, err
	}
	defer s.close(nil)
	if len(t.Addrs) == 1 {
		t.anyLog() // it may have begun anew
	}
	if err := t.sameLog(w.Log); err != nil {
		return false, err
	}
	if t.OnWelcome != nil {
		t.OnWelcome(w)
	}
	t.Log.Info("connected", "collector", address, "log", w.Log, "streams", len(w.Streams))
	t.use(s)
	defer t.use(nil)
	return true, s.serve(ctx)
}

// Append sends b and waits for the collector's answer, or for a connection
// first. When the connection is lost meanwhile, the outcome is unknown.
func (t *TCP) Append(ctx context.Context, b wire.Batch) error {
	if b.Stream.IsZero() {
		return &wire.Refused{Reason: "lines without a stream cannot be acknowledged"}
	}
	if err := cmp.Or(b.Check(), ctx.Err()); err != nil {
		return err
	}
	s, err := t.current(ctx)
	if err != nil {
		return err
	}
	return s.append(ctx, &b)
}

// dial connects, says hello and reads the welcome.
func (t *TCP) dial(ctx context.Context, address string) (*session, wire.Welcome, error) {
	ctx, cancel := context.WithTimeout(ctx, t.DialTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, wire.Welcome{}, err
	}
	local := conn.RemoteAddr().(*net.TCPAddr).IP.IsLoopback()
	if t.TLS != nil {
		c := t.TLS()
		if c.ServerName == "" {
			c.ServerName, _, _ = net.SplitHostPort(address)
		}
		tc := tls.Client(conn, c)
		if err := tc.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, wire.Welcome{}, t.handshakeError(err)
		}
		conn = tc
	}
	s := newSession(conn, t)
	if t.Compress == "zstd" || t.Compress != "none" && !local {
		if s.squeeze, err = t.squeezer(); err != nil {
			conn.Close()
			return nil, wire.Welcome{}, err
		}
	}
	w, err := s.greet(ctx)
	if err != nil {
		conn.Close()
		err = t.explain(err) // that it was not let in, a client learns after the handshake
	}
	return s, w, err
}

func (t *TCP) explain(err error) error {
	if t.TLS == nil || t.Explain == nil {
		return err
	}
	return t.Explain(err)
}

// handshakeError says what most often is the matter.
func (t *TCP) handshakeError(err error) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("the other side closed the connection in the middle of the TLS handshake: does that port speak TLS? If not, write tcp:// (%w)", err)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("nothing answers to the TLS handshake within %v: does that port speak TLS? If not, write tcp:// (%w)", t.DialTimeout, err)
	}
	return fmt.Errorf("TLS handshake: %w", t.explain(err))
}

// squeezer is made once, by the one goroutine that dials.
func (t *TCP) squeezer() (*squeezer, error) {
	var err error
	if t.squeeze == nil {
		t.squeeze, err = newSqueezer()
	}
	return t.squeeze, err
}
