package stream_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"fanin/ingest"
	"fanin/ingest/ingesttest"
	"fanin/ingest/stream"
)

// echo returns a format whose connections begin with magic. Its protocol writes its name
// and all that it reads.
func echo(name, magic string) stream.Format {
	return stream.Format{
		Name: name,
		Matches: func(head []byte) (yes, more bool) {
			n := min(len(head), len(magic))
			same := bytes.Equal(head[:n], []byte(magic[:n]))
			return same && n == len(magic), same && n < len(magic)
		},
		Serve: func(_ context.Context, c *stream.Conn) error {
			c.Keep()
			io.WriteString(c.Net(), name+": ")
			c.Net().Write(c.Head())
			_, err := io.Copy(c.Net(), c.Net())
			c.Reject(name+"_left", "the peer left")
			return err
		},
		Refuse:  func(nc net.Conn, why string) { io.WriteString(nc, name+" is refused: "+why) },
		Reasons: []string{name + "_left"},
	}
}

// A protocol needs nothing but its row in the table: it is recognized by its first
// bytes, however they come in pieces, it reports why a connection is refused, and it has
// reasons of its own.
func TestProtocols(t *testing.T) {
	rest := echo("rest", "")
	rest.Matches = nil
	l := &stream.Listener{Formats: []stream.Format{echo("one", "ONE"), echo("other", "OTHER"), rest}, Metrics: new(ingest.Metrics)}
	l.MaxConns = 3
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- l.Serve(ln) }() // ends by Shutdown
	var open []net.Conn
	for _, x := range []struct{ text, want string }{
		{"ONE and more", "one: ONE and more"}, {"OTHER", "other: OTHER"}, {"OTTER", "rest: OTTER"},
		{"ONE too many", "one is refused: too many connections"},
	} {
		nc := ingesttest.Dial(t, ln.Addr().String())
		open = append(open, nc)
		for i := range x.text {
			io.WriteString(nc, x.text[i:i+1])
		}
		got := make([]byte, len(x.want))
		if _, err := io.ReadFull(nc, got); err != nil || string(got) != x.want {
			t.Errorf("%q is answered with %q (%v), want %q", x.text, got, err, x.want)
		}
	}
	for _, kind := range []string{"one", "other", "rest"} {
		if n := ingesttest.Metric(t, l.Metrics, "fanin_connections_total", kind); n != 1 {
			t.Errorf("%d connections of kind %s are counted, want 1", n, kind)
		}
	}
	for _, nc := range open {
		nc.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := l.Shutdown(ctx); err != nil || <-served != ingest.ErrServerClosed {
		t.Errorf("Shutdown: %v", err)
	}
	if n := ingesttest.Metric(t, l.Metrics, "fanin_rejected_connections_total", "one_left"); n != 1 {
		t.Errorf("%d connections are counted for a reason of the protocol, want 1", n)
	}
}

// Without a row that matches everything, a connection of no known format is closed, and
// counted.
func TestNoFormat(t *testing.T) {
	l := &stream.Listener{Formats: []stream.Format{echo("one", "ONE")}, Metrics: new(ingest.Metrics)}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- l.Serve(ln) }() // ends by Shutdown
	nc := ingesttest.Dial(t, ln.Addr().String())
	io.WriteString(nc, "OTHER")
	if answer, _ := io.ReadAll(nc); strings.Contains(string(answer), "one") {
		t.Errorf("answered with %q", answer)
	}
	l.Shutdown(t.Context())
	<-served
	if n := ingesttest.Metric(t, l.Metrics, "fanin_rejected_connections_total", "protocol"); n != 1 {
		t.Errorf("%d connections are counted, want 1", n)
	}
}
