package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"time"

	"fanin/internal/wire"
)

// crowdConn is an agent's connection to a collector. It is read for no longer than until the agent
// has something to send: so one goroutine is all that an agent has.
type crowdConn struct {
	net.Conn
	in    *wire.Decoder
	frame wire.Frame // the last one
	block [512]byte
	got   []byte    // of block: read, and not decoded
	until time.Time // the read deadline
	heard time.Time // when bytes came last
}

const (
	greetWithin = 10 * time.Second // for the connection and its welcome
	deadAfter   = 15 * time.Second // inside a frame
	pingEvery   = 5 * time.Second
)

// dialCrowd connects agent n to the first address that accepts.
func dialCrowd(ctx context.Context, n int, addrs []string, config *tls.Config) (*crowdConn, error) {
	ctx, cancel := context.WithTimeout(ctx, greetWithin)
	defer cancel()
	var all error
	for _, addr := range addrs {
		conn, err := crowdDialer(n, addr).DialContext(ctx, "tcp", addr)
		if err == nil && config != nil {
			conn, err = dialTLS(ctx, conn, config, addr)
		}
		if err == nil {
			c := &crowdConn{Conn: conn}
			c.in = wire.NewDecoderSize(c, len(c.block))
			return c, nil
		}
		all = errors.Join(all, err)
	}
	return nil, all
}

// crowdDialer has an address of its own for each agent, as hosts have, where the system allows that: what a
// collector bounds for each address does not bind a fleet.
func crowdDialer(n int, addr string) *net.Dialer {
	host, _, _ := net.SplitHostPort(addr)
	if to, err := netip.ParseAddr(host); err != nil || !to.Is4() || !to.IsLoopback() || runtime.GOOS != "linux" {
		return new(net.Dialer)
	}
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 64+byte(n>>16), byte(n>>8), byte(n))}}
}

// dialTLS makes conn a TLS connection.
func dialTLS(ctx context.Context, conn net.Conn, config *tls.Config, addr string) (net.Conn, error) {
	config = config.Clone()
	config.ServerName, _, _ = net.SplitHostPort(addr)
	config.DynamicRecordSizingDisabled = true
	tc := tls.Client(conn, config)
	if err := tc.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return smallRecords{tc}, nil
}

// smallRecords writes records of 4 KiB, as agents do for what is not more than 64 KiB.
type smallRecords struct{ *tls.Conn }

func (c smallRecords) Write(p []byte) (int, error) {
	written := 0
	for part := range slices.Chunk(p, 4<<10) {
		n, err := c.Conn.Write(part)
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// errDead ends a connection on which nothing comes.
var errDead = errors.New("the collector is silent")

// Write does not wait for longer than a collector is silent while it lives.
func (c *crowdConn) Write(p []byte) (int, error) {
	c.SetWriteDeadline(time.Now().Add(deadAfter))
	return c.Conn.Write(p)
}

// greet says hello, and returns the welcome with all of its streams.
func (c *crowdConn) greet(h wire.Hello) (w wire.Welcome, err error) {
	if _, err := c.Write(wire.AppendHello(nil, h)); err != nil {
		return w, err
	}
	var f wire.Frame
	if err := c.in.Next(&f); err != nil {
		return w, err
	}
	if f.Kind != wire.KindWelcome {
		return w, unexpected(&f)
	}
	w = f.Welcome
	for left := f.N; left > int64(len(w.Streams)); {
		if err := c.in.Next(&f); err != nil {
			return w, err
		}
		if f.Kind != wire.KindStreams || len(f.Streams) == 0 {
			return w, unexpected(&f)
		}
		w.Streams = append(w.Streams, f.Streams...)
	}
	return w, nil
}

// leave is a frame with which a collector ends a session.
type leave struct {
	reason string
	wait   time.Duration // before the next session
}

func (l *leave) Error() string { return "the collector ended the session: " + l.reason }

// unexpected is the error of a frame that ends a session.
func unexpected(f *wire.Frame) error {
	switch f.Kind {
	case wire.KindFault:
		return &leave{f.Reason, time.Duration(f.N) * time.Second}
	case wire.KindDrain:
		return &leave{"it stops", time.Second}
	}
	return fmt.Errorf("%w: a frame of kind %d", wire.ErrProtocol, f.Kind)
}

// await waits for bytes of the collector until a time. It reports whether a frame has begun to come. A collector
// that does not even answer pings is dead.
func (c *crowdConn) await(until time.Time) (came bool, err error) {
	if len(c.got) > 0 || c.in.Buffered() > 0 {
		return true, nil
	}
	err = c.fill(until)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if err = nil; time.Since(c.heard) > pingEvery+deadAfter {
			err = errDead
		}
	}
	return len(c.got) > 0, err
}

// fill reads into the block.
func (c *crowdConn) fill(until time.Time) error {
	if !until.Equal(c.until) {
		c.until = until
		c.SetReadDeadline(until)
	}
	n, err := c.Conn.Read(c.block[:])
	if c.got = c.block[:n]; n > 0 {
		c.heard, err = time.Now(), nil // an error comes again
	}
	return err
}

// Read is for the decoder.
func (c *crowdConn) Read(p []byte) (int, error) {
	if len(c.got) == 0 {
		if err := c.fill(time.Now().Add(deadAfter)); err != nil {
			return 0, err
		}
		if len(c.got) == 0 {
			return 0, io.ErrNoProgress
		}
	}
	n := copy(p, c.got)
	c.got = c.got[n:]
	return n, nil
}
