package zmtp

import "slices"

// SocketType is a ZeroMQ socket type, as the property Socket-Type has it.
type SocketType string

// The socket types of RFC 37 that a Conn can be, or meet.
const (
	Pull   SocketType = "PULL"
	Push   SocketType = "PUSH"
	Pub    SocketType = "PUB"
	Sub    SocketType = "SUB"
	XPub   SocketType = "XPUB"
	XSub   SocketType = "XSUB"
	Req    SocketType = "REQ"
	Rep    SocketType = "REP"
	Dealer SocketType = "DEALER"
	Router SocketType = "ROUTER"
	Pair   SocketType = "PAIR"
)

// Peers returns the socket types that a socket of type t may talk to (RFC 37, "The Socket-Type
// Property").
func (t SocketType) Peers() []SocketType {
	switch t {
	case Pull:
		return []SocketType{Push}
	case Push:
		return []SocketType{Pull}
	case Pub, XPub:
		return []SocketType{Sub, XSub}
	case Sub, XSub:
		return []SocketType{Pub, XPub}
	case Req:
		return []SocketType{Rep, Router}
	case Rep:
		return []SocketType{Req, Dealer}
	case Dealer:
		return []SocketType{Rep, Dealer, Router}
	case Router:
		return []SocketType{Req, Dealer, Router}
	case Pair:
		return []SocketType{Pair}
	}
	return nil
}

// Accepts reports whether a socket of type t may talk to one of type peer.
func (t SocketType) Accepts(peer SocketType) bool { return slices.Contains(t.Peers(), peer) }
