package ingesttest

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fanin/internal/wire"
)

// Pipes is a listener whose connections exist in memory, so that their time can be that
// of a test. Each comes from the address that Dial is given.
type Pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// Accept implements net.Listener.
func (p *Pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *Pipes) Close() error { p.once.Do(func() { close(p.closed) }); return nil }

// Addr implements net.Listener.
func (p *Pipes) Addr() net.Addr { return &net.TCPAddr{} }

// FarConn is a connection from a given address.
type FarConn struct {
	net.Conn
	From *net.TCPAddr
}

// RemoteAddr implements net.Conn.
func (c *FarConn) RemoteAddr() net.Addr { return c.From }

// Dial connects from an address.
func (p *Pipes) Dial(from netip.Addr, port int) net.Conn {
	here, there := net.Pipe()
	p.conns <- &FarConn{there, &net.TCPAddr{IP: from.AsSlice(), Port: port}}
	return here
}

// StartPipes serves s on connections in memory until the test ends.
func StartPipes(t testing.TB, s *TCP) *Pipes {
	t.Helper()
	p := NewPipes()
	StartOn(t, s, p)
	return p
}

// NewPipes returns a listener without connections.
func NewPipes() *Pipes { return &Pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

// Sender is an agent's side of a connection that counts what it reads.
type Sender struct {
	Conn  net.Conn
	kinds [32]atomic.Int64
	gap   atomic.Int64  // the longest silence of the other side
	ended chan struct{} // closed when the connection ends
}

// Join connects an agent, which reads all that it is sent.
func (p *Pipes) Join(t testing.TB, from netip.Addr, n int) *Sender {
	t.Helper()
	s := &Sender{Conn: p.Dial(from, n+1), ended: make(chan struct{})}
	go func() { // ends with the connection
		defer close(s.ended)
		d := wire.NewDecoder(s.Conn)
		var f wire.Frame
		for last := time.Now(); d.Next(&f) == nil; last = time.Now() {
			s.gap.Store(max(s.gap.Load(), int64(time.Since(last))))
			s.kinds[f.Kind].Add(1)
		}
	}()
	if _, err := s.Conn.Write(Hello(fmt.Sprint("a", n), InstanceA, 1)); err != nil {
		t.Error(err)
	}
	synctest.Wait()
	if s.Got(wire.KindWelcome) != 1 {
		t.Error("no welcome")
	}
	return s
}

// Got returns how many frames of a kind came.
func (s *Sender) Got(k wire.Kind) int { return int(s.kinds[k].Load()) }

// Gap returns the longest silence of the other side.
func (s *Sender) Gap() time.Duration { return time.Duration(s.gap.Load()) }

// Gone reports whether the connection has ended.
func (s *Sender) Gone() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// Lines returns lines of n bytes in all.
func Lines(n int) string {
	return strings.Repeat(strings.Repeat("x", 99)+"\n", n/100+1)[:n-1] + "\n"
}

// Frame returns a frame with n bytes of text, of a stream of the agent's own.
func Frame(agent, stream, n int) []byte {
	b := wire.Batch{Stream: wire.StreamID{byte(agent), byte(agent >> 8), byte(stream), 1}, End: int64(n), Text: []byte(Lines(n))}
	return append(wire.AppendBatch(nil, &b, 0, b.Text), b.Text...)
}

// Addr returns the n-th of some addresses.
func Addr(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}) }
