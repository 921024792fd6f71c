package zmtp

// Security is how a socket and its peers prove who they are. The zero value is NULL: neither
// proves anything, and nothing is encrypted. At most one of Plain and Curve is set; all peers of
// a socket must use the same mechanism.
type Security struct {
	// Server makes this side the one that checks the other. It is independent of who binds and
	// who connects; usually the side that binds is the server. With NULL it means that this side
	// waits for the other's READY, so that it can refuse it with a reason: then the other side
	// must not be a server as well.
	Server bool
	Plain  *Plain
	Curve  *Curve
}

// Mechanism returns the name that the greeting has: "NULL", "PLAIN" or "CURVE".
func (s *Security) Mechanism() string {
	switch {
	case s.Curve != nil:
		return "CURVE"
	case s.Plain != nil:
		return "PLAIN"
	}
	return "NULL"
}

// Encrypted reports whether messages are encrypted and the server is authenticated.
func (s *Security) Encrypted() bool { return s.Curve != nil }

// Plain is a user with a password, each at most 255 bytes. A client sends them. A server accepts
// exactly them; it compares in constant time. They travel in clear text.
type Plain struct {
	User, Password string
}

// Curve has the long-term keys of CURVE.
type Curve struct {
	Secret SecretKey // this side's; its public key follows from it
	// ServerKey is the server's public key. A client needs it, a server ignores it.
	ServerKey Key
	// Clients are the public keys of the clients that a server accepts. Nil: each client that
	// knows the server's public key is accepted, so messages are encrypted and clients are not
	// authenticated.
	Clients map[Key]bool
}
