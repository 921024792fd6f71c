package zmtp

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// quietPeer is a connection whose peer has made its handshake and is then left to the test.
func quietPeer(t *testing.T, o *Options) (peer net.Conn, c *Conn) {
	t.Helper()
	peer, ours := net.Pipe()
	t.Cleanup(func() { peer.Close(); ours.Close() })
	go func() { // ends with the handshake
		peer.Write(greeted(Push))
	}()
	go func() { // ends with the handshake: it reads what this side sends
		peer.Read(make([]byte, greetingSize))
		peer.Read(make([]byte, 200))
	}()
	c, err := Handshake(context.Background(), ours, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return peer, c
}

// receiveAll receives in a goroutine of its own and returns the errors.
func receiveAll(c *Conn) <-chan error {
	end := make(chan error, 1)
	go func() { // ends with the connection
		for {
			if _, err := c.Receive(); err != nil {
				end <- err
				return
			}
		}
	}()
	return end
}

// A peer that does not answer PINGs is left after the timeout, one that does is not.
func TestHeartbeatTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &Options{Type: Pull, Heartbeat: time.Second, HeartbeatTimeout: 2500 * time.Millisecond, HeartbeatTTL: 1500 * time.Millisecond}
		peer, c := quietPeer(t, o)
		end := receiveAll(c)
		start := time.Now()
		const want = "\x04\x07\x04PING\x00\x0f"
		for range 10 {
			b := make([]byte, 100)
			n, err := peer.Read(b)
			if err != nil || string(b[:n]) != want {
				t.Fatalf("%q, %v; want %q", b[:n], err, want)
			}
			peer.Write(appendCommand(nil, pong))
		}
		if d := time.Since(start); d != 10*time.Second {
			t.Errorf("10 PINGs took %v", d)
		}
		go func() { // ends with the connection: the peer reads and does not answer
			for b := make([]byte, 100); ; {
				if _, err := peer.Read(b); err != nil {
					return
				}
			}
		}()
		err := <-end
		var e *Error
		if !errors.As(err, &e) || e.Reason != TimedOut || !strings.Contains(err.Error(), "2.5s") {
			t.Errorf("%v", err)
		}
		if d := time.Since(start); d != 13500*time.Millisecond { // asked at 11 s
			t.Errorf("it ended after %v", d)
		}
	})
}

// A caller that is busy does not make the peer late, and the peer still gets PINGs.
func TestHeartbeatBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		peer, c := quietPeer(t, &Options{Type: Pull, Heartbeat: time.Second})
		for range 5 { // nothing receives
			if n, err := peer.Read(make([]byte, 100)); n == 0 || err != nil {
				t.Fatal(err)
			}
		}
		end := receiveAll(c)
		go peer.Read(make([]byte, 100)) // ends with the PING
		peer.Write(appendCommand(nil, pong))
		select {
		case err := <-end:
			t.Errorf("it ended: %v", err)
		default:
		}
	})
}

// A peer that sends PINGs gets something as often while the caller is busy and answers none.
func TestHeartbeatWhileBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		peer, c := quietPeer(t, &Options{Type: Pull})
		c.SetReadDeadline(time.Now().Add(2500 * time.Millisecond))
		end := receiveAll(c)
		b := make([]byte, 100)
		for range 2 {
			time.Sleep(time.Second)
			peer.Write(appendCommand(nil, ping, []byte{0, 0}))
			peer.Read(b)
		}
		if err := <-end; !os.IsTimeout(err) {
			t.Fatal(err)
		}
		start := time.Now() // from now on nothing receives
		for range 5 {
			if n, err := peer.Read(b); err != nil || string(b[:n]) != "\x04\x07\x04PING\x00\x00" {
				t.Fatalf("%q, %v", b[:n], err)
			}
		}
		if d := time.Since(start); d != 4500*time.Millisecond {
			t.Errorf("5 PINGs took %v", d)
		}
	})
}

// A PING with a time to live ends a connection on which nothing follows.
func TestHeartbeatTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		peer, c := quietPeer(t, &Options{Type: Pull})
		end := receiveAll(c)
		start := time.Now()
		go peer.Read(make([]byte, 100)) // ends with the PONG
		peer.Write(appendCommand(nil, ping, []byte{0, 20}))
		time.Sleep(1500 * time.Millisecond)
		peer.Write(AppendMessage(nil, []byte("x")))
		err := <-end
		var e *Error
		if !errors.As(err, &e) || e.Reason != TimedOut {
			t.Error(err)
		}
		if d := time.Since(start); d != 3500*time.Millisecond {
			t.Errorf("it ended after %v", d)
		}
	})
}

// A PING that comes while another goroutine writes is answered when that is done, and the reader
// goes on meanwhile.
func TestPongBehindWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		peer, c := quietPeer(t, &Options{Type: Pull})
		go func() { // ends when the peer reads
			c.Send([]byte("x"))
			c.Flush()
		}()
		synctest.Wait()                                                                                                  // the write waits for the peer
		go peer.Write(append(appendCommand(nil, ping, []byte{0, 0}, []byte("ctx")), AppendMessage(nil, []byte("y"))...)) // ends when it is read
		if frames, err := c.Receive(); err != nil || string(frames[0]) != "y" {
			t.Fatal(frames, err)
		}
		for _, want := range []string{"\x00\x01x", "\x04\x08\x04PONGctx"} {
			b := make([]byte, 100)
			if n, err := peer.Read(b); err != nil || string(b[:n]) != want {
				t.Errorf("%q, %v; want %q", b[:n], err, want)
			}
		}
	})
}

// A reader does not wait for a peer that sends PINGs and reads nothing.
func TestPongUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		peer, c := quietPeer(t, &Options{Type: Pull})
		b := appendCommand(nil, ping, []byte{0, 0}, []byte("ctx"))
		go peer.Write(append(append(b, b...), AppendMessage(nil, []byte("y"))...)) // ends when it is read
		began := time.Now()
		if frames, err := c.Receive(); err != nil || string(frames[0]) != "y" || time.Since(began) > 0 {
			t.Fatal(frames, err, time.Since(began))
		}
	})
}

// A peer that does not read is left after the write timeout, and Taken tells what it has.
func TestUnread(t *testing.T) {
	for _, m := range mechanisms(t) {
		t.Run(m.name, func(t *testing.T) {
			push, pull := mustJoin(t, &Options{Type: Push, Security: m.client, WriteTimeout: 50 * time.Millisecond},
				&Options{Type: Pull, Security: m.server})
			var err error
			sent := 0
			for ; err == nil && sent < 1<<24; sent++ {
				err = push.Send(make([]byte, 100))
			}
			wantReason(t, err, Unread)
			push.nc.Close()
			n := 0
			for ; ; n++ {
				if _, err := pull.Receive(); err != nil {
					break
				}
			}
			if int64(n) != push.Taken() || n >= sent {
				t.Errorf("%d messages of %d arrived; Taken is %d", n, sent, push.Taken())
			}
		})
	}
}
