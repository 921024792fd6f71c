package stream_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"testing"

	"fanin/ingest"
	"fanin/ingest/stream"
)

// TestRetire: a retired listener ends the connections of peers that send again, and keeps the others,
// which count toward the bound of the listener that comes after it.
func TestRetire(t *testing.T) {
	draining := make(chan bool, 1)
	echo := func(_ context.Context, c *stream.Conn) error {
		c.Net().Write(c.Head())
		_, err := io.Copy(c.Net(), c.Net())
		draining <- c.Draining()
		return err
	}
	resumes := stream.Format{Name: "resumes", Serve: echo, Resumes: true,
		Matches: func(head []byte) (bool, bool) { return head[0] == 'r', false }}
	l := &stream.Listener{Formats: []stream.Format{resumes, {Name: "plain", Serve: echo}}, Limits: stream.Limits{MaxConns: 2}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- l.Serve(ln) }() // ends by Retire
	say := func(nc net.Conn, text string) error {
		if _, err := io.WriteString(nc, text+"\n"); err != nil {
			return err
		}
		_, err := bufio.NewReader(nc).ReadString('\n')
		return err
	}
	dial := func(text string) (net.Conn, error) {
		nc, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		return nc, say(nc, text)
	}
	again, err := dial("r")
	if err != nil {
		t.Fatal(err)
	}
	plain, err := dial("p")
	if err != nil {
		t.Fatal(err)
	}
	l.Retire()
	if err := <-ended; err != ingest.ErrServerClosed {
		t.Errorf("Serve returns %v", err)
	}
	if _, err := again.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection of a peer that sends again: %v", err)
	}
	if !<-draining {
		t.Error("its protocol does not know why")
	}
	if err := say(plain, "still there"); err != nil {
		t.Errorf("the other connection: %v", err)
	}
	next := &stream.Listener{Formats: []stream.Format{{Name: "plain", Serve: echo}}, Limits: stream.Limits{MaxConns: 1}, Others: l.Connections}
	if ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	go next.Serve(ln) // ends by Shutdown
	if _, err := dial("p"); err == nil {
		t.Error("a connection is accepted beyond the bound")
	}
	plain.Close()
	<-draining
	if err := l.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := dial("p"); err != nil {
		t.Errorf("a connection within the bound: %v", err)
	}
	for _, l := range []*stream.Listener{l, next} {
		if err := l.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
