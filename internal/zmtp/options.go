package zmtp

import (
	"context"
	"sync/atomic"
	"time"
)

// Options are what all connections of a socket share. A zero field has the default that its
// comment names. They are not changed after the first Handshake.
type Options struct {
	Type     SocketType
	Identity string // at most 255 bytes; the first one is not zero. Only DEALER, REQ and ROUTER need one
	Security Security

	// MaxMessage bounds the frames of a message together, in bytes; default DefaultMaxMessage.
	// A larger message is skipped: it is read and forgotten, never held, and counted.
	MaxMessage int
	// CloseOversized closes the connection of a peer that sends a larger message, instead.
	CloseOversized bool

	HandshakeTimeout time.Duration // for all of the handshake; default DefaultHandshakeTimeout
	WriteTimeout     time.Duration // for one write to make progress; default DefaultWriteTimeout, < 0: none

	// Heartbeat is the interval between PINGs while nothing else is sent; 0: none are sent. PINGs
	// of the peer are answered in any case. Only peers that speak ZMTP 3.1 get them.
	Heartbeat time.Duration
	// HeartbeatTimeout ends the connection if nothing arrives for so long while it waits for the
	// peer; default: Heartbeat. It counts only while PINGs are sent.
	HeartbeatTimeout time.Duration
	// HeartbeatTTL asks the peer to end the connection if nothing of ours arrives for so long,
	// in steps of 0.1 s, at most 6553.5 s; 0: the peer decides.
	HeartbeatTTL time.Duration

	Memory Memory  // lends blocks for large messages; nil: blocks are allocated
	Counts *Counts // counts what all connections of the socket do; nil: not counted
}

// Defaults of Options.
const (
	DefaultMaxMessage       = 1 << 20
	DefaultHandshakeTimeout = 10 * time.Second
	DefaultWriteTimeout     = 30 * time.Second
)

// Memory lends blocks to one or more connections, for messages that do not fit into a
// connection's own buffer. A connection holds at most one block.
type Memory interface {
	// Grow returns a block that begins with the bytes of have, and has space for more: its length
	// is larger than have's, up to need or more if there is memory for all of it. It takes have
	// back, which is a beginning of the last block, or nil for the first one. It may wait.
	Grow(ctx context.Context, have []byte, need int) ([]byte, error)
	// Release takes a block, or the beginning of one, back. complete tells whether the message
	// arrived whole.
	Release(block []byte, complete bool)
}

// Counts are the counters of the connections of a socket.
type Counts struct {
	Skipped      atomic.Int64 // messages larger than MaxMessage, read and forgotten
	SkippedBytes atomic.Int64 // the bytes of their frames
	Torn         atomic.Int64 // connections that ended in the middle of a message
}
