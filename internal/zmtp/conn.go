package zmtp

import (
	"context"
	"errors"
	"net"
	"time"
)

// errTodo stands where this package is being built.
var errTodo = errors.New("not built yet")

// Peer is what the handshake told of the other side.
type Peer struct {
	Type     SocketType
	Identity string // as the peer says, not proven
	Minor    byte   // of its version 3.x, at most 1: peers with 0 subscribe with messages, and know no PING
	User     string // PLAIN: the client's user. Set on a server only
	Key      Key    // CURVE: the other side's public key
}

// Conn is a connection to one peer after its handshake. One goroutine may receive while another
// one sends; Close may be called at any time, by any.
type Conn struct {
	peer Peer
}

// Handshake speaks the greeting and the handshake over nc. On an error it closes nc; the error is
// an *Error where the peer is the reason. A done ctx ends the handshake.
func Handshake(ctx context.Context, nc net.Conn, o *Options) (*Conn, error) {
	nc.Close()
	return nil, errTodo
}

// Peer returns what the handshake told of the other side.
func (c *Conn) Peer() Peer { return c.peer }

// Receive returns the frames of the next message. It waits for one, and answers PINGs meanwhile.
// The frames are valid until the next Receive or Next: they are parts of the read buffer.
//
// The error is io.EOF if the peer closed between messages, io.ErrUnexpectedEOF if in the middle
// of one, an *Error if the peer broke the protocol, net.ErrClosed after Close, and
// os.ErrDeadlineExceeded at the read deadline, after which Receive can be called again.
func (c *Conn) Receive() (frames [][]byte, err error) { return nil, errTodo }

// Next is Receive for a message that has arrived: it never reads from the network, and ok is
// false if there is no whole message in the buffer. So a caller gathers many messages per read:
//
//	frames, err := c.Receive()
//	for ok := err == nil; ok; frames, ok, err = c.Next() {
//		… // copy the frames
//	}
func (c *Conn) Next() (frames [][]byte, ok bool, err error) { return nil, false, errTodo }

// Subscription waits for the next subscription of a SUB or XSUB peer, in either form: the
// commands SUBSCRIBE and CANCEL of ZMTP 3.1, or the messages 1 TOPIC and 0 TOPIC of 3.0. Other
// messages of the peer are skipped. The topic is valid until the next call. add is false for a
// cancellation. Errors are those of Receive.
func (c *Conn) Subscription() (topic []byte, add bool, err error) { return nil, false, errTodo }

// Subscribe tells a PUB or XPUB peer to send messages that begin with topic, in the form that it
// understands.
func (c *Conn) Subscribe(topic string) error { return errTodo }

// Cancel undoes one Subscribe.
func (c *Conn) Cancel(topic string) error { return errTodo }

// Send sends one message of one or more frames. It copies it into the write buffer, and writes
// when that is full: Flush writes the rest. After an error the connection is of no use.
func (c *Conn) Send(frames ...[]byte) error { return errTodo }

// Flush writes what Send buffered. The kernel has taken it when Flush returns nil; whether the
// peer read it, ZMTP does not tell.
func (c *Conn) Flush() error { return errTodo }

// Taken returns how many messages the kernel has taken completely. After an error of Send or
// Flush it tells which of the messages did not leave whole: those after the first Taken ones.
func (c *Conn) Taken() int64 { return 0 }

// SetReadDeadline bounds the waiting of Receive and Subscription. The zero time is no bound.
func (c *Conn) SetReadDeadline(at time.Time) error { return errTodo }

// RemoteAddr returns the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return nil }

// Close ends the connection. Blocked calls return. What was sent and not flushed is lost.
func (c *Conn) Close() error { return errTodo }
