// Package zmtp speaks ZMTP, the protocol of ZeroMQ sockets (RFC 37, ZMTP 3.1; RFC 23, ZMTP 3.0):
// the greeting, the security mechanisms NULL, PLAIN (RFC 24) and CURVE (RFC 25 and 26), frames,
// and commands such as heartbeats and subscriptions.
//
// Handshake makes a Conn of a net.Conn. A Conn receives and sends whole messages; a message is
// one or more frames. What a socket does with several peers (queues, routing, reconnects) is not
// part of a Conn.
//
// A peer is not trusted. Until its handshake is complete it costs at most 8 KiB, afterwards at
// most 64 KiB of the connection's own buffers. Memory for larger messages is lent by Memory, and
// grows with the bytes that arrive, never with the length that the peer claims.
package zmtp
