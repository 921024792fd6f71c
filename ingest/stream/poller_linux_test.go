package stream

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/nettest"
	"golang.org/x/sys/unix"

	"fanin/internal/waittest"
)

// connected returns both ends of a TCP connection.
func connected(t testing.TB) (here, there *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	other, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return nc.(*net.TCPConn), other.(*net.TCPConn)
}

// polledBy returns the connection, polled by p.
func polledBy(t testing.TB, p *poller, tc *net.TCPConn) net.Conn {
	t.Helper()
	l := newLink(tc)
	next := p.adopt(tc)
	if next == nil {
		t.Fatal("the connection cannot be polled")
	}
	l.change(next)
	return l
}

// idle waits until p has no more connections.
func idle(t testing.TB, p *poller) {
	t.Helper()
	waittest.Until(t, "the end of the poller", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.active == nil
	})
}

// TestPolledConn: a polled connection does what every net.Conn does.
func TestPolledConn(t *testing.T) {
	p := new(poller)
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		here, there := connected(t)
		a, b := polledBy(t, p, here), polledBy(t, p, there)
		return a, b, func() { a.Close(); b.Close() }, nil
	})
	idle(t, p)
}

// TestPolledEnd: the last bytes of a peer come, and its end behind them, however close they are.
func TestPolledEnd(t *testing.T) {
	p := new(poller)
	for round := range 300 {
		here, there := connected(t)
		c := polledBy(t, p, there)
		c.SetReadDeadline(time.Now().Add(time.Minute))
		want := fmt.Sprint("the last words of ", round)
		go func() { // ends with its last words
			io.WriteString(here, want[:3])
			io.WriteString(here, want[3:])
			if round%2 == 0 {
				here.CloseWrite()
			} else {
				here.Close()
			}
		}()
		got, err := io.ReadAll(c)
		if err != nil || string(got) != want {
			t.Fatalf("%q, %v; want %q", got, err, want)
		}
		c.Close()
		here.Close()
	}
	idle(t, p)
}

// TestPolledCrowd: what many send, a little at a time, comes; also while others come and go, whose
// descriptors have the same numbers; and an answer that finds no room is written when there is some.
func TestPolledCrowd(t *testing.T) {
	p := new(poller)
	const peers, rounds = 50, 40
	large := bytes.Repeat([]byte("answer "), 1<<17)
	var all sync.WaitGroup
	for n := range peers {
		all.Go(func() {
			for life := range 3 {
				here, there := connected(t)
				c := polledBy(t, p, there)
				c.SetDeadline(time.Now().Add(time.Minute))
				here.SetDeadline(time.Now().Add(time.Minute))
				if err := talk(here, c, fmt.Sprintf("line of %d in %d", n, life), rounds, large); err != nil {
					t.Errorf("%d, life %d: %v", n, life, err)
				}
				c.Close()
				here.Close()
			}
		})
	}
	all.Wait()
	idle(t, p)
}

// talk sends lines from one to the other, each after its answer, and then a large answer.
func talk(from, to net.Conn, line string, rounds int, large []byte) error {
	served := make(chan error, 1)
	go func() { // ends with the connection
		b := make([]byte, 1024)
		for range rounds {
			n, err := to.Read(b)
			if err == nil && string(b[:n]) != line {
				err = fmt.Errorf("got %q", b[:n])
			}
			if err == nil {
				_, err = to.Write([]byte{'.'})
			}
			if err != nil {
				served <- err
				return
			}
		}
		_, err := to.Write(large)
		served <- err
	}()
	for range rounds {
		if _, err := io.WriteString(from, line); err != nil {
			return errors.Join(err, <-served)
		}
		if _, err := io.ReadFull(from, make([]byte, 1)); err != nil {
			return errors.Join(err, <-served)
		}
	}
	got, err := io.ReadAll(io.LimitReader(from, int64(len(large))))
	if err == nil && !bytes.Equal(got, large) {
		err = fmt.Errorf("%d bytes of the answer, not as they were sent", len(got))
	}
	return errors.Join(err, <-served)
}

// TestPolledTogether: Conn changes what polls it, below TLS too, and a Wake before, meanwhile or after ends
// a read.
func TestPolledTogether(t *testing.T) {
	l := new(Listener)
	l.setUp()
	for round := range 200 {
		here, there := connected(t)
		c := newConn(l, there, here.LocalAddr().(*net.TCPAddr).AddrPort().Addr())
		if round%2 == 0 {
			c.nc = tls.Server(c.raw, &tls.Config{})
		}
		woken := make(chan struct{})
		go func() { // ends with Wake
			if round%3 > 0 {
				time.Sleep(time.Duration(round) * time.Microsecond)
			}
			c.Wake()
			close(woken)
		}()
		c.PollTogether()
		if _, ok := c.raw.now().(*polledConn); !ok {
			t.Fatal("the connection was not changed")
		}
		c.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := c.nc.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		<-woken
		c.raw.Close()
		here.Close()
	}
	idle(t, l.conns.poller)
}

// TestPolledDescriptor: whether a connection is open can be seen below TLS, whatever polls it: a certificate that is
// revoked closes its connections, and only those that are closed are forgotten.
func TestPolledDescriptor(t *testing.T) {
	p := new(poller)
	here, there := connected(t)
	defer here.Close()
	c := polledBy(t, p, there)
	below := tls.Server(c, &tls.Config{}).NetConn().(*link).NetConn()
	raw, err := below.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(uintptr) {}); err != nil {
		t.Errorf("it is open: %v", err)
	}
	if raw := rawConn(c); raw == nil || raw.Control(func(uintptr) {}) != nil {
		t.Error("it has no descriptor")
	}
	io.WriteString(here, "x")
	got := 0
	err = raw.Read(func(fd uintptr) bool {
		got, _ = unix.Read(int(fd), make([]byte, 8))
		return got > 0
	})
	if err != nil || got != 1 {
		t.Errorf("%d bytes, %v", got, err)
	}
	c.Close()
	if err := raw.Control(func(uintptr) {}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("it is closed: %v", err)
	}
	idle(t, p)
}
