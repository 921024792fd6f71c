package redisconn_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"fanin/internal/redisconn"
	"fanin/internal/redistest"
)

// dial connects to a server.
func dial(t *testing.T, c *redisconn.Client) *redisconn.Conn {
	t.Helper()
	conn, err := c.Dial(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestPipeline: commands are sent together, each has its reply, in order, and an error of one
// does not touch the others.
func TestPipeline(t *testing.T) {
	conn := dial(t, redistest.New(t).Client())
	const n = 20_000
	for i := range n {
		conn.Begin(5)
		conn.Add("XADD")
		conn.Add("logs")
		conn.Add(fmt.Sprintf("1-%d", i+1))
		conn.AddBytes([]byte("message"))
		conn.AddInt(int64(i))
	}
	conn.Command("XADD", "logs", "1-1", "message", "again")
	conn.Command("XLEN", "logs")
	if err := conn.Send(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		v, err := conn.Receive(t.Context(), 0)
		if want := fmt.Sprintf("1-%d", i+1); err != nil || v.String() != want {
			t.Fatalf("%d: %q, %v", i, v, err)
		}
	}
	var refused *redisconn.ServerError
	if _, err := conn.Receive(t.Context(), 0); !errors.As(err, &refused) || refused.Code != "ERR" {
		t.Errorf("a repeated id: %v", err)
	}
	if v, err := conn.Receive(t.Context(), 0); redistest.Text(v) != fmt.Sprint(n) || err != nil {
		t.Errorf("XLEN: %s, %v", redistest.Text(v), err)
	}
	if _, err := conn.Receive(t.Context(), 0); err == nil || conn.Pending() != 0 {
		t.Error("a reply without a command")
	}
}

// TestBlockedRead: a read that blocks ends by its context at once, and by its own time, and
// the connection is closed after the first and usable after the second.
func TestBlockedRead(t *testing.T) {
	s := redistest.New(t)
	conn := dial(t, s.Client())
	if v, err := conn.DoWait(t.Context(), 10*time.Millisecond, "XREAD", "BLOCK", "10", "STREAMS", "logs", "$"); err != nil || !v.IsNull() {
		t.Fatalf("%v, %v", v, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("it is time to stop")
	time.AfterFunc(50*time.Millisecond, func() { cancel(stop) })
	_, err := conn.DoWait(ctx, time.Hour, "XREAD", "BLOCK", "0", "STREAMS", "logs", "$")
	if !errors.Is(err, stop) {
		t.Errorf("the read ended with %v", err)
	}
	if _, again := conn.Do(t.Context(), "PING"); again == nil || again.Error() != err.Error() {
		t.Errorf("the connection was used again: %v", again)
	}
	impatient := s.Client()
	impatient.Timeout = 100 * time.Millisecond
	conn = dial(t, impatient)
	s.Freeze()
	if _, err := conn.Do(t.Context(), "PING"); redisconn.Classify(err) != redisconn.Away {
		t.Errorf("a server that does not answer: %v", err)
	}
	s.Thaw()
}

// TestUnasked: a reply that no command asked for is not taken for the answer to the next one;
// a push in between, which is no reply, is passed over.
func TestUnasked(t *testing.T) {
	for replies, want := range map[string]string{
		"+PONG\r\n": "",
		">2\r\n+server-cpu-usage\r\n:42\r\n+PONG\r\n": "",
		"+PONG\r\n+PONG\r\n":                          "replies to commands that it was not sent",
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() { // ends with its connection
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			defer nc.Close()
			for in := bufio.NewReader(nc); ; {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if line == "PING\r\n" {
					io.WriteString(nc, replies)
				}
			}
		}()
		conn := dial(t, &redisconn.Client{Login: redisconn.Login{URLs: []string{"redis://" + ln.Addr().String()}}})
		t.Cleanup(func() { ln.Close() }) // not before it has accepted: the connection would be reset
		for range 2 {
			v, err := conn.Do(t.Context(), "PING")
			if want == "" && (err != nil || v.String() != "PONG") || want != "" && (redisconn.Classify(err) != redisconn.Malformed || !strings.Contains(err.Error(), want)) {
				t.Errorf("%q: %s, %v, want %q", replies, v, err, want)
			}
		}
	}
}
