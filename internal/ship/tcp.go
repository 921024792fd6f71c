// Package ship carries batches from an agent to a collector: over TCP or NATS, where each
// is acknowledged after it was committed, or over UDP, where nothing is.
package ship

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"fanin/internal/instant"
	"fanin/internal/retry"
	"fanin/internal/wire"
)

// OnWelcome is called for each session before anything is sent in it, with the collector's
// welcome and the most text that a batch may have in this session.
type OnWelcome func(w wire.Welcome, maxText int)

// TCP is an Appender whose nil means that the collector committed the batch. It keeps one
// connection, over which any number of streams have batches in flight: one each, or as many
// as the collector allows. Set the fields, Run it, Append to it. Zero fields take the
// defaults named.
type TCP struct {
	Addrs     []string           // of one log, as host:port; tried in turn; required
	TLS       func() *tls.Config // for each connection anew; nil: plain TCP
	Explain   func(error) error  // adds what an error of TLS means, and what to do; nil: it stays as it is
	Hello     wire.Hello         // the agent; Version is filled in
	OnWelcome OnWelcome          // may be nil
	Compress  string             // "auto" (default): what suits the link, see choice; "zstd"; "none"
	Log       *slog.Logger       // nil: discard
	Timing

	connState[*tcpSession]
	encoder atomic.Pointer[encoder] // of all sessions; nil before the first one
}

var _ wire.Appender = (*TCP)(nil)

func (t *TCP) defaults() {
	t.setDefaults(10 * time.Second)
	if t.Log == nil {
		t.Log = slog.New(slog.DiscardHandler)
	}
	t.Hello.Version = wire.Version
}

// Run keeps a connection until ctx ends.
func (t *TCP) Run(ctx context.Context) error {
	t.defaults()
	if len(t.Addrs) == 0 {
		return errors.New("no address of a collector is set")
	}
	backoff := t.backoff()
	for i := 0; ctx.Err() == nil; i++ {
		address := t.Addrs[i%len(t.Addrs)]
		welcomed, err := t.connect(ctx, address)
		if ctx.Err() != nil {
			break
		}
		if welcomed {
			backoff.Reset()
		}
		var f *fault
		if errors.As(err, &f) {
			backoff.AtLeast(f.wait)
		}
		var pause time.Duration
		if (i+1)%len(t.Addrs) == 0 || f != nil {
			pause = backoff.Next()
		}
		t.lost(t.Log, address, err, pause)
		retry.Pause(ctx, pause)
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
		t.anyLog() // it may be a new one
	}
	if err := t.sameLog(w.Log); err != nil {
		return false, err
	}
	if t.OnWelcome != nil {
		t.OnWelcome(w, wire.MaxText)
	}
	t.Log.Info("connected", "collector", address, "log", w.Log, "streams", len(w.Streams))
	t.use(s)
	defer t.use(nil)
	return true, s.serve(ctx)
}

// Append sends b and waits for the collector's answer, or for a connection first. When the
// connection is lost meanwhile, the outcome is unknown.
func (t *TCP) Append(ctx context.Context, b wire.Batch) error {
	if err := checkBatch(ctx, &b); err != nil {
		return err
	}
	s, err := t.current(ctx)
	if err != nil {
		return err
	}
	return s.append(ctx, &b)
}

// dial connects, sends the hello and reads the welcome.
func (t *TCP) dial(ctx context.Context, address string) (*tcpSession, wire.Welcome, error) {
	ctx, cancel := context.WithTimeout(ctx, t.GreetWithin)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, wire.Welcome{}, err
	}
	s := newTCPSession(instant.Conn(conn), t)
	if t.TLS != nil {
		if err := s.handshake(ctx, address); err != nil {
			conn.Close()
			return nil, wire.Welcome{}, t.handshakeError(err)
		}
	}
	w, err := s.greet(ctx)
	if err != nil {
		conn.Close()
		return s, w, t.explain(err) // a client learns after the handshake that it was rejected
	}
	s.encoder.begin(w.About.Encodings)
	return s, w, nil
}

// encoderFor returns the encoder of all sessions, of which conn may be the first.
func (t *TCP) encoderFor(conn net.Conn) *encoder {
	e := t.encoder.Load()
	if e == nil {
		address, ok := conn.RemoteAddr().(*net.TCPAddr)
		e = newEncoder(t.Compress, ok && address.IP.IsLoopback())
		t.encoder.Store(e)
	}
	return e
}

// Compression returns how texts are compressed now.
func (t *TCP) Compression() (c Compression) {
	if e := t.encoder.Load(); e != nil {
		c = e.state()
	}
	return c
}

func (t *TCP) explain(err error) error {
	if t.TLS == nil || t.Explain == nil {
		return err
	}
	return t.Explain(err)
}

// handshakeError explains the most frequent causes.
func (t *TCP) handshakeError(err error) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("the peer closed the connection during the TLS handshake: "+
			"does that port speak TLS? If not, write tcp:// (%w)", err)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer to the TLS handshake within %v: "+
			"does that port speak TLS? If not, write tcp:// (%w)", t.GreetWithin, err)
	}
	return fmt.Errorf("TLS handshake: %w", t.explain(err))
}
