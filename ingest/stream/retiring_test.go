package stream_test

import (
	"context"
	"io"
	"net"
	"testing"

	"fanin/ingest/stream"
)

// lateListener returns a connection after it was closed: the kernel had it in that moment.
type lateListener struct {
	net.Listener
	accepting, closed chan struct{}
	late              net.Conn
}

func (l *lateListener) Accept() (net.Conn, error) {
	l.accepting <- struct{}{}
	<-l.closed
	if nc := l.late; nc != nil {
		l.late = nil
		return nc, nil
	}
	return nil, net.ErrClosed
}

func (l *lateListener) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return l.Listener.Close()
}

// TestRetireAccepts: a connection that was accepted in the moment of a Retire is served, since its
// sender may have sent lines and be gone; Retire returns when no other can come.
func TestRetireAccepts(t *testing.T) {
	read := make(chan string, 1)
	serve := func(_ context.Context, c *stream.Conn) error {
		rest, err := io.ReadAll(c.Net())
		read <- string(c.Head()) + string(rest)
		return err
	}
	l := &stream.Listener{Formats: []stream.Format{{Name: "plain", Serve: serve}}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sender, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(sender, "a line\n")
	sender.Close()
	late := &lateListener{ln, make(chan struct{}, 2), make(chan struct{}), accepted}
	ended := make(chan error, 1)
	go func() { ended <- l.Serve(late) }() // ends by Retire
	<-late.accepting
	l.Retire()
	if err := l.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case text := <-read:
		if text != "a line\n" {
			t.Errorf("%q was read", text)
		}
	default:
		t.Error("the connection was closed, and its line is lost")
	}
	if err := l.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-ended
}
