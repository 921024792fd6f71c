// Package ship carries batches from an agent to a collector: over TCP, each
// acknowledged after it was committed there, or over UDP, where nobody answers.
package ship

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
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
	Hello     wire.Hello         // who this is; Version is filled in
	OnWelcome func(wire.Welcome) // called for each connection, before anything is sent over it
	Compress  string             // "auto" (default): zstd unless the collector is on this machine; "zstd"; "none"
	Log       *slog.Logger       // default: discard

	PingEvery   time.Duration // default 5 s
	DeadAfter   time.Duration // without a byte from the collector, more while a large text is on its way; default 15 s
	DialTimeout time.Duration // dialling, TLS and the welcome; default 10 s
	Linger      time.Duration // for the answer to a batch on its way whose context ended; default none
	MinBackoff  time.Duration // between connections; default 200 ms
	MaxBackoff  time.Duration // default 30 s

	mu      sync.Mutex
	session *session      // the one that works; nil: none
	change  chan struct{} // closed when session changes
	log     wire.StreamID // the log met first: all addresses must be its
	trouble string
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
		t.lost(address, err, wait)
		if (i+1)%len(t.Addrs) == 0 || f != nil {
			sleep(ctx, wait/2+rand.N(wait)) // so that a fleet does not come back as one
			wait = min(2*wait, t.MaxBackoff)
		}
	}
	return ctx.Err()
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// lost says once what is wrong, not at each try.
func (t *TCP) lost(address string, err error, wait time.Duration) {
	text := fmt.Sprintf("%s: %v", address, err)
	var op *net.OpError
	if errors.As(err, &op) && op.Source != nil {
		text = strings.ReplaceAll(text, op.Source.String()+"->", "") // another port each time
	}
	t.mu.Lock()
	again := text == t.trouble
	t.trouble = text
	t.mu.Unlock()
	if !again {
		t.Log.Warn("no connection to the collector; lines wait in their files", "collector", address, "err", err, "next_try", wait)
	}
}

// Trouble is why there is no connection, "" while there is one.
func (t *TCP) Trouble() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.session != nil {
		return ""
	}
	if t.trouble == "" {
		return "not connected yet"
	}
	return t.trouble
}

// connect makes one connection and serves it until it ends.
func (t *TCP) connect(ctx context.Context, address string) (welcomed bool, err error) {
	s, w, err := t.dial(ctx, address)
	if err != nil {
		return false, err
	}
	defer s.close(nil)
	if err := t.sameLog(w.Log, address); err != nil {
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

// sameLog refuses an address that leads to another log: its watermarks would be
// taken for this one's.
func (t *TCP) sameLog(log wire.StreamID, address string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.log.IsZero() || len(t.Addrs) == 1 {
		t.log = log
	}
	if t.log != log {
		return fmt.Errorf("there is the log %s, and at the address before the log %s: all addresses must lead to one log; remove one of them", log, t.log)
	}
	return nil
}

func (t *TCP) use(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.session = s
	if s != nil {
		t.trouble = ""
	}
	if t.change != nil {
		close(t.change)
		t.change = nil
	}
}

// current waits for a connection.
func (t *TCP) current(ctx context.Context) (*session, error) {
	for {
		t.mu.Lock()
		s := t.session
		if s != nil && s.ending() {
			s = nil // its goroutine is about to say so
		}
		if s == nil && t.change == nil {
			t.change = make(chan struct{})
		}
		change := t.change
		t.mu.Unlock()
		if s != nil {
			return s, nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return nil, fmt.Errorf("no connection to the collector: %w", ctx.Err())
		}
	}
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
	setUserTimeout(conn, t.DeadAfter)
	local := conn.RemoteAddr().(*net.TCPAddr).IP.IsLoopback()
	if t.TLS != nil {
		c := t.TLS()
		if c.ServerName == "" {
			c.ServerName, _, _ = net.SplitHostPort(address)
		}
		tc := tls.Client(conn, c)
		if err := tc.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, wire.Welcome{}, fmt.Errorf("TLS, which that port may not speak (then write tcp://): %w", err)
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
	}
	return s, w, err
}

// squeezer is made once, by the one goroutine that dials.
func (t *TCP) squeezer() (*squeezer, error) {
	var err error
	if t.squeeze == nil {
		t.squeeze, err = newSqueezer()
	}
	return t.squeeze, err
}
