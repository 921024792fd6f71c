package ingesttest

import (
	"net"
	"strings"
	"testing"

	"fanin/internal/wire"
)

// Client is an agent's side of a connection.
type Client struct {
	Conn net.Conn
	Dec  *wire.Decoder
	t    testing.TB
}

// NewClient returns a client over a connection.
func NewClient(t testing.TB, nc net.Conn) *Client {
	return &Client{nc, wire.NewDecoder(nc), t}
}

// Greet connects an agent up to its welcome.
func Greet(t testing.TB, addr, agent string, instance wire.StreamID, run int64) *Client {
	t.Helper()
	c := NewClient(t, Dial(t, addr))
	c.Send(Hello(agent, instance, run))
	c.Want(wire.KindWelcome)
	return c
}

// Send writes a frame.
func (c *Client) Send(frame []byte) {
	c.t.Helper()
	if _, err := c.Conn.Write(frame); err != nil {
		c.t.Fatal(err)
	}
}

// Want reads a frame of a kind.
func (c *Client) Want(k wire.Kind) wire.Frame {
	c.t.Helper()
	var f wire.Frame
	if err := c.Dec.Next(&f); err != nil {
		c.t.Fatalf("read an answer: %v", err)
	}
	if f.Kind != k {
		c.t.Fatalf("got %+v, want kind %d", f, k)
	}
	return f
}

// WantFault reads a fault that mentions all words, and the end.
func (c *Client) WantFault(words ...string) {
	c.t.Helper()
	f := c.Want(wire.KindFault)
	for _, w := range words {
		if !strings.Contains(f.Reason, w) {
			c.t.Errorf("fault %q does not mention %q", f.Reason, w)
		}
	}
	if _, err := c.Conn.Read(make([]byte, 1)); err == nil {
		c.t.Error("the connection goes on after a fault")
	}
}

// Two instances of agents.
var (
	InstanceA = wire.StreamID{1}
	InstanceB = wire.StreamID{2}
)

// Hello returns the hello of an agent whose lines name the host web1.
func Hello(agent string, instance wire.StreamID, run int64) []byte {
	return wire.AppendHello(nil, wire.Hello{Version: wire.Version, Agent: agent, Instance: instance, Run: run,
		Host: "web1", Software: "test"})
}

// Data returns the frame of a batch of lines.
func Data(stream byte, from int64, text string) []byte {
	b := wire.Batch{Stream: wire.StreamID{stream}, Offset: from, End: from + int64(len(text)), Text: []byte(text)}
	return append(wire.AppendBatch(nil, &b, 0, b.Text), text...)
}

// Welcome is a welcome that knows no streams.
func Welcome(string) wire.Welcome { return wire.Welcome{Log: wire.StreamID{9}} }
