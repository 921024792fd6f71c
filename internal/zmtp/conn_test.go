package zmtp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// link is a loopback connection: both ends of it.
func link(t testing.TB) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// join makes the handshake on both ends of a connection.
func join(t testing.TB, a, b *Options) (x, y *Conn, aErr, bErr error) {
	t.Helper()
	na, nb := link(t)
	done := make(chan struct{})
	go func() { // ends with the handshake
		defer close(done)
		x, aErr = Handshake(context.Background(), na, a)
	}()
	y, bErr = Handshake(context.Background(), nb, b)
	<-done
	for _, c := range []*Conn{x, y} {
		if c != nil {
			t.Cleanup(func() { c.Close() })
		}
	}
	return x, y, aErr, bErr
}

// mustJoin is join where both sides must agree.
func mustJoin(t testing.TB, a, b *Options) (x, y *Conn) {
	t.Helper()
	x, y, aErr, bErr := join(t, a, b)
	if aErr != nil || bErr != nil {
		t.Fatalf("handshake: %v; %v", aErr, bErr)
	}
	return x, y
}

func newSecret(t testing.TB) (SecretKey, Key) {
	t.Helper()
	s, err := NewSecretKey()
	if err != nil {
		t.Fatal(err)
	}
	k, err := s.Public()
	if err != nil {
		t.Fatal(err)
	}
	return s, k
}

// mechanism is a security mechanism for the two ends of a connection.
type mechanism struct {
	name           string
	client, server Security
}

func mechanisms(t testing.TB) []mechanism {
	serverSecret, serverKey := newSecret(t)
	clientSecret, clientKey := newSecret(t)
	return []mechanism{
		{"NULL", Security{}, Security{Server: true}},
		{"PLAIN", Security{Plain: &Plain{"fanin", "secret"}}, Security{Server: true, Plain: &Plain{"fanin", "secret"}}},
		{"CURVE", Security{Curve: &Curve{Secret: clientSecret, ServerKey: serverKey}},
			Security{Server: true, Curve: &Curve{Secret: serverSecret, Clients: map[Key]bool{clientKey: true}}}},
	}
}

// Messages of all sizes arrive as they were sent, whatever the mechanism.
func TestMessages(t *testing.T) {
	for _, m := range mechanisms(t) {
		t.Run(m.name, func(t *testing.T) {
			push, pull := mustJoin(t, &Options{Type: Push, Security: m.client}, &Options{Type: Pull, Security: m.server})
			var sent [][][]byte
			for _, n := range []int{0, 1, 100, 255, 256, 300, 4000, 8191, 16384, 20000, 40000, 300000, DefaultMaxMessage} {
				sent = append(sent, [][]byte{bytes.Repeat([]byte{byte(n)}, n)}, [][]byte{[]byte("short")})
			}
			sent = append(sent, [][]byte{[]byte("topic"), bytes.Repeat([]byte("x"), 50000), nil, bytes.Repeat([]byte("y"), 100000), []byte("z")})
			go func() { // ends when all is written
				for _, frames := range sent {
					push.Send(frames...)
				}
				push.Flush()
			}()
			for i, want := range sent {
				got, err := pull.Receive()
				if err != nil {
					t.Fatalf("message %d: %v", i, err)
				}
				if len(got) != len(want) {
					t.Fatalf("message %d has %d frames; want %d", i, len(got), len(want))
				}
				for j := range want {
					if !bytes.Equal(got[j], want[j]) {
						t.Fatalf("message %d, frame %d: %d bytes; want %d", i, j, len(got[j]), len(want[j]))
					}
				}
			}
			if n := push.Taken(); n != int64(len(sent)) {
				t.Errorf("%d messages taken; want %d", n, len(sent))
			}
			push.Close()
			if _, err := pull.Receive(); err != io.EOF {
				t.Errorf("after the end: %v", err)
			}
		})
	}
}

// Larger messages are skipped and counted, and what follows them arrives.
func TestOversized(t *testing.T) {
	for _, m := range mechanisms(t) {
		t.Run(m.name, func(t *testing.T) {
			counts := new(Counts)
			push, pull := mustJoin(t, &Options{Type: Push, Security: m.client},
				&Options{Type: Pull, Security: m.server, MaxMessage: 10000, Counts: counts})
			big, small := bytes.Repeat([]byte("b"), 100000), []byte("small")
			go func() { // ends when all is written
				push.Send(big)
				push.Send(small)
				push.Send(small, bytes.Repeat([]byte("c"), 9990), small, small)
				push.Send(small)
				push.Send(small, big, small)
				push.Send(make([][]byte, maxFrames+1)...)
				push.Send(small)
				push.Flush()
			}()
			for range 3 {
				got, err := pull.Receive()
				if err != nil || len(got) != 1 || string(got[0]) != "small" {
					t.Fatalf("%q, %v; want small", got, err)
				}
			}
			if n, size := counts.Skipped.Load(), counts.SkippedBytes.Load(); n != 4 || size != 100000+5+9990+10+5+100000+5 {
				t.Errorf("skipped %d messages of %d bytes", n, size)
			}
		})
	}
}

func TestCloseOversized(t *testing.T) {
	push, pull := mustJoin(t, &Options{Type: Push}, &Options{Type: Pull, MaxMessage: 10, CloseOversized: true})
	push.Send(make([]byte, 11))
	push.Flush()
	wantReason(t, second(pull.Receive()), Oversized)
	if _, err := push.Receive(); err != io.EOF {
		t.Errorf("the peer sees %v; want the end", err)
	}
}

func second[A any](_ A, err error) error { return err }

func wantReason(t *testing.T, err error, want Reason) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Reason != want {
		t.Errorf("%v; want reason %s", err, want)
	}
}

// Next returns what is buffered, and never waits.
func TestNext(t *testing.T) {
	push, pull := mustJoin(t, &Options{Type: Push}, &Options{Type: Pull})
	for i := range 5 {
		push.Send(fmt.Append(nil, i))
	}
	push.Flush()
	var got []string
	frames, err := pull.Receive()
	for ok := err == nil; ok; frames, ok, err = pull.Next() {
		got = append(got, string(frames[0]))
	}
	if s := strings.Join(got, ""); s != "01234" || err != nil {
		t.Errorf("%s, %v", s, err)
	}
}

// A read deadline ends the wait and nothing else.
func TestReadDeadline(t *testing.T) {
	a, b := link(t)
	go io.Copy(io.Discard, a) // ends with the connection
	a.Write(appendGreeting(nil, &Security{}, minor))
	a.Write(appendCommand(nil, ready, appendMetadata(nil, &Options{Type: Push})))
	pull, err := Handshake(context.Background(), b, &Options{Type: Pull})
	if err != nil {
		t.Fatal(err)
	}
	a.Write([]byte{0, 5, 'h', 'e'})
	pull.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := pull.Receive(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	pull.SetReadDeadline(time.Time{})
	a.Write([]byte("llo"))
	if got, err := pull.Receive(); err != nil || string(got[0]) != "hello" {
		t.Fatalf("%q, %v", got, err)
	}
	a.Write([]byte{0, 5, 'h', 'e'})
	a.Close()
	if _, err := pull.Receive(); err != io.ErrUnexpectedEOF {
		t.Errorf("a torn message: %v", err)
	}
	if n := pull.counts.Torn.Load(); n != 1 {
		t.Errorf("%d torn connections", n)
	}
}
