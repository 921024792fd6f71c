package zmtp

import (
	"bytes"
	"strings"
)

// The greeting of ZMTP 3.1 (RFC 37, "Formal Grammar"), 64 bytes:
//
//	 0    1                9    10      11      12               32          33           64
//	+----+----------------+----+-------+-------+----------------+-----------+------------+
//	| FF | padding, 8     | 7F | major | minor | mechanism, 20  | as-server | filler, 31 |
//	+----+----------------+----+-------+-------+----------------+-----------+------------+
//
// The padding is not looked at; ours is zero. The mechanism is filled up with zeros. as-server is
// 1 if the peer is the server of the mechanism. libzmq speaks 3.0 to a peer whose minor is 0.
const (
	greetingSize  = 64
	signatureSize = 10
	majorAt       = 10
	minorAt       = 11
	mechanismAt   = 12
	asServerAt    = 32

	major = 3
	minor = 1
)

// appendGreeting appends our greeting.
func appendGreeting(b []byte, s *Security, minor byte) []byte {
	var g [greetingSize]byte
	g[0], g[signatureSize-1] = 0xFF, 0x7F
	g[majorAt], g[minorAt] = major, minor
	copy(g[mechanismAt:asServerAt], s.Mechanism())
	if s.Server && s.Mechanism() != "NULL" {
		g[asServerAt] = 1
	}
	return append(b, g[:]...)
}

// checkSignature looks at what has arrived of a greeting, so that a peer of another protocol is
// named at once, and not when no more bytes come.
func checkSignature(b []byte) error {
	switch {
	case len(b) == 0 || len(b) < 2 && b[0] == 1:
		return nil
	case b[0] == 1 && b[1] == 0, len(b) >= signatureSize && b[0] == 0xFF && b[signatureSize-1]&1 == 0:
		return failf(OldVersion, "the peer speaks ZMTP 1, as ZeroMQ 2 does: it needs libzmq 4 or later")
	case b[0] != 0xFF || len(b) >= signatureSize && b[signatureSize-1] != 0x7F:
		return failf(NotZMTP, "the peer does not speak ZMTP%s", guess(b))
	case len(b) > majorAt && b[majorAt] < major:
		return failf(OldVersion, "the peer speaks ZMTP 2, as ZeroMQ 3 does: it needs libzmq 4 or later")
	}
	return nil
}

// guess names the protocol of a peer that does not speak ZMTP.
func guess(b []byte) string {
	for _, p := range []struct{ begins, name string }{
		{"\x16\x03", "TLS"}, {"GET ", "HTTP"}, {"POST ", "HTTP"}, {"HEAD ", "HTTP"}, {"PUT ", "HTTP"}, {"PRI ", "HTTP"},
		{"CONNECT {", "NATS"}, {"INFO {", "NATS"}, {"*", "the Redis protocol"}, {"SSH-", "SSH"}, {"<", "syslog"},
	} {
		if bytes.HasPrefix(b, []byte(p.begins)) {
			return ": it seems to speak " + p.name
		}
	}
	return ": its first bytes are " + quote(string(b[:min(len(b), 16)]))
}

// checkGreeting compares a whole greeting with what this side is, and returns its minor version.
func checkGreeting(g []byte, s *Security) (byte, error) {
	theirs := strings.TrimRight(string(g[mechanismAt:asServerAt]), "\x00")
	ours := s.Mechanism()
	if theirs != ours {
		return 0, failf(OtherSecurity, "the peer uses the mechanism %s, and this socket %s: "+
			"configure the same on both sides", quote(theirs), ours)
	}
	if ours != "NULL" && s.Server && g[asServerAt] == 1 {
		return 0, failf(OtherSecurity, "the peer is a %s server, and so is this socket: "+
			"one of them must be the client", ours)
	}
	if g[majorAt] > major {
		return minor, nil
	}
	return min(g[minorAt], minor), nil
}
