package zmtp

import (
	"encoding/binary"
	"strings"
)

// Metadata are properties, one behind the other (RFC 37, "The NULL Security Mechanism"):
//
//	 0        1        1+length            5+length
//	+--------+--------+-------------------+----------
//	| length |  name  | size, 4 bytes     | value
//	+--------+--------+-------------------+----------
//
// Names are 1 to 255 bytes, and upper and lower case are the same. READY and INITIATE have them.
const (
	propertyType     = "Socket-Type"
	propertyIdentity = "Identity"
	maxIdentity      = 255
)

// appendMetadata appends the properties of this side.
func appendMetadata(b []byte, o *Options) []byte {
	b = appendProperty(b, propertyType, string(o.Type))
	if o.Type == Req || o.Type == Dealer || o.Type == Router { // libzmq sends it for these, even empty
		b = appendProperty(b, propertyIdentity, o.Identity)
	}
	return b
}

func appendProperty(b []byte, name, value string) []byte {
	b = append(append(b, byte(len(name))), name...)
	return append(binary.BigEndian.AppendUint32(b, uint32(len(value))), value...)
}

// parseMetadata reads the properties of the peer. Unknown ones are skipped.
func parseMetadata(b []byte, peer *Peer) error {
	for len(b) > 0 {
		n := int(b[0])
		if n == 0 || len(b) < 1+n+4 {
			return failf(Malformed, "the peer's handshake has a property without a name or a value")
		}
		name := string(b[1 : 1+n])
		size := int64(binary.BigEndian.Uint32(b[1+n:]))
		b = b[1+n+4:]
		if size > int64(len(b)) {
			return failf(Malformed, "the peer's handshake has the property %s of %d bytes, and only %d follow",
				quote(name), size, len(b))
		}
		value := string(b[:size])
		b = b[size:]
		switch {
		case strings.EqualFold(name, propertyType):
			peer.Type = SocketType(value)
		case strings.EqualFold(name, propertyIdentity):
			if len(value) > maxIdentity {
				return failf(Malformed, "the peer's identity has %d bytes; at most %d are allowed",
					len(value), maxIdentity)
			}
			peer.Identity = value
		}
	}
	return nil
}

// checkPeer returns an error if a socket of type t does not talk to the peer.
func checkPeer(t SocketType, peer *Peer) error {
	if t.Accepts(peer.Type) {
		return nil
	}
	var want []string
	for _, p := range t.Peers() {
		want = append(want, string(p))
	}
	what := "did not tell its socket type"
	if peer.Type != "" {
		what = "is a socket of type " + quote(string(peer.Type))
	}
	return failf(OtherType, "the peer %s; a %s socket talks to %s", what, t, strings.Join(want, ", "))
}
