package stream_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"fanin/ingest/ingesttest"
	"fanin/ingest/stream"
	"fanin/internal/waittest"
)

// TestUnread: what the kernel holds for a connection is known to the byte.
func TestUnread(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan int, 1)
	l := &stream.Listener{Formats: []stream.Format{{Name: "x", Serve: func(_ context.Context, c *stream.Conn) error {
		late := time.Now().Add(waittest.Limit)
		for len(c.Head())+c.Unread() < 1000 && time.Now().Before(late) {
			time.Sleep(time.Millisecond)
		}
		seen <- len(c.Head()) + c.Unread()
		return errors.New("that was all")
	}}}}
	ended := make(chan error, 1)
	go func() { ended <- l.Serve(ln) }() // ends by Shutdown
	nc := ingesttest.Dial(t, ln.Addr().String())
	if _, err := nc.Write([]byte(strings.Repeat("x", 1000))); err != nil {
		t.Fatal(err)
	}
	if n := <-seen; n != 1000 {
		t.Errorf("%d of 1000 bytes are seen", n)
	}
	if err := l.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-ended
}
