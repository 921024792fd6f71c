package zmtp

import (
	"crypto/sha256"
	"crypto/subtle"
)

// The PLAIN mechanism (RFC 24). The client begins:
//
//	client  5 "HELLO"     1 byte: length of the user      the user
//	                      1 byte: length of the password  the password
//	server  7 "WELCOME"
//	client  8 "INITIATE"  metadata
//	server  5 "READY"     metadata
//
// The server answers with ERROR instead to a user that it does not accept.
const (
	hello    = "\x05HELLO"
	welcome  = "\x07WELCOME"
	initiate = "\x08INITIATE"

	// libzmqFailing is what libzmq sends for 5 "ERROR" with PLAIN, by mistake (4.3.4), and alone
	// understands. This side sends what the RFC has.
	libzmqFailing = "^RROR"

	// denied is a status of ZAP (RFC 27): libzmq reports it to its application as such.
	denied = "400"
)

func (h *handshake) plainClient(p *Plain) error {
	user, password := p.User[:min(len(p.User), 255)], p.Password[:min(len(p.Password), 255)]
	data := append([]byte{byte(len(user))}, user...)
	data = append(append(data, byte(len(password))), password...)
	if err := h.write(appendCommand(nil, hello, data)); err != nil {
		return err
	}
	h.hint = ": it may not accept this user and password"
	if _, err := h.expect(welcome); err != nil {
		return err
	}
	h.hint = ""
	if err := h.write(appendCommand(nil, initiate, appendMetadata(nil, h.o))); err != nil {
		return err
	}
	metadata, err := h.expect(ready)
	if err != nil {
		return err
	}
	return h.meet(metadata)
}

func (h *handshake) plainServer(p *Plain) error {
	data, err := h.expect(hello)
	if err != nil {
		return err
	}
	user, data, ok := shortString(data)
	password, data, ok2 := shortString(data)
	if !ok || !ok2 || len(data) > 0 {
		return failf(Malformed, "the peer's HELLO is not that of PLAIN")
	}
	h.peer.User = string(user)
	if !same(user, p.User) || !same(password, p.Password) {
		h.refuse(denied)
		return failf(Credentials, "the peer logged in as %s with a wrong user or password: "+
			"compare its configuration with this socket's", quote(h.peer.User))
	}
	if err := h.write(appendCommand(nil, welcome)); err != nil {
		return err
	}
	metadata, err := h.expect(initiate)
	if err != nil {
		return err
	}
	if err := h.meet(metadata); err != nil {
		return err
	}
	return h.write(appendCommand(nil, ready, appendMetadata(nil, h.o)))
}

// shortString takes a string with a byte for its length from b.
func shortString(b []byte) (s, rest []byte, ok bool) {
	if len(b) == 0 || int(b[0]) > len(b)-1 {
		return nil, nil, false
	}
	n := 1 + int(b[0])
	return b[1:n], b[n:], true
}

// same compares in a time that tells neither content nor length.
func same(a []byte, b string) bool {
	x, y := sha256.Sum256(a), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
