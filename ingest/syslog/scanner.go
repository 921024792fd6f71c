package syslog

import (
	"bytes"

	"fanin/ingest"
	"fanin/internal/wire"
)

// Scanner understands the messages of one connection or socket, one at a time. It allocates
// nothing for a message whose names it has seen lately.
type Scanner struct {
	s *Settings
}

// New returns a scanner for one connection or socket.
func (s *Settings) New() *Scanner { return &Scanner{s: s} }

// Room is how many bytes the line of a message of n bytes can have.
func Room(n int) int { return 2*n + 64 }

// Scan appends the line of a message to dst, without a newline at its end, and returns the
// line's labels. Newlines inside are written as wire.AppendRecord does, so a batch with a line of
// which wire.IsRecord is true must be Joined. NULs and a newline at the message's end are not of
// its text. A message that is not one of syslog is the line as it is.
func (x *Scanner) Scan(dst, msg []byte, from *Origin) (out []byte, labels wire.Labels) {
	msg = trimEnd(msg)
	_, size := ingest.Priority(msg)
	return wire.AppendRecord(dst, msg[size:]), wire.Labels{Host: from.Host, Source: x.s.Source}
}

// trimEnd drops what ends a message.
func trimEnd(msg []byte) []byte {
	msg = bytes.TrimSuffix(bytes.TrimRight(msg, "\x00"), []byte{'\n'})
	return bytes.TrimRight(msg, "\x00")
}
