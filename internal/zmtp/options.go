package zmtp

import (
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

	// Heartbeat is the interval between PINGs; 0: none are sent. PINGs of the peer are answered in
	// any case. Only peers that speak ZMTP 3.1 get them.
	Heartbeat time.Duration
	// HeartbeatTimeout ends the connection if nothing arrives for so long after a PING; default:
	// Heartbeat. Only time in Receive or Subscription counts: a caller that is busy does not make
	// the peer late.
	HeartbeatTimeout time.Duration
	// HeartbeatTTL asks the peer to end the connection if nothing of ours arrives for so long,
	// in steps of 0.1 s, at most 6553.5 s; 0: the peer decides.
	HeartbeatTTL time.Duration

	Memory Memory  // lends blocks for large messages; nil: blocks are allocated
	Counts *Counts // counts what all connections of the socket do; nil: not counted
}

// limit returns the bound on a message of the peer. A subscriber sends nothing but subscriptions.
func (o *Options) limit() int {
	switch {
	case o.Type == Pub || o.Type == XPub:
		return maxCommand
	case o.MaxMessage > 0:
		return o.MaxMessage
	}
	return DefaultMaxMessage
}

func (o *Options) handshakeTimeout() time.Duration {
	if o.HandshakeTimeout > 0 {
		return o.HandshakeTimeout
	}
	return DefaultHandshakeTimeout
}

// writeTimeout returns the bound on a write, 0 for none.
func (o *Options) writeTimeout() time.Duration {
	if o.WriteTimeout == 0 {
		return DefaultWriteTimeout
	}
	return max(o.WriteTimeout, 0)
}

// Defaults of Options.
const (
	DefaultMaxMessage       = 1 << 20
	DefaultHandshakeTimeout = 10 * time.Second
	DefaultWriteTimeout     = 30 * time.Second
)

// Counts are the counters of the connections of a socket.
type Counts struct {
	Skipped      atomic.Int64 // messages larger than MaxMessage, read and forgotten
	SkippedBytes atomic.Int64 // the bytes of their frames
	Torn         atomic.Int64 // connections that ended in the middle of a message
}
