// Package join is how a host gets its certificate from a collector, and a new one before the old
// one expires. Both programs use it. The host has a token: one line that names the collector,
// pins its authority, and holds a secret. It makes a key, connects with TLS and the protocol
// "fanin-join" (ALPN), sends one request, and reads one answer. The key never leaves the host.
//
//	host                                  collector
//	  TLS 1.3, ALPN fanin-join  ------>
//	  <------  certificates, whose authority has the pinned key
//	  Request: secret, name, certificate request  ------>
//	  <------  Answer: certificate and authorities, or why not
//
// To renew, the host shows its present certificate in the TLS handshake instead of a secret.
package join

import (
	"errors"
	"fmt"
	"regexp"
	"time"
)

// Protocol is the name of the exchange in the TLS handshake (ALPN, RFC 7301). A connection with
// it may come without a certificate, and can do nothing else.
const Protocol = "fanin-join"

// Timeout bounds one exchange, on both sides.
const Timeout = 20 * time.Second

const version = 1 // of tokens, requests and answers

// MaxName is how long a host's name may be: as the common name of a certificate (RFC 5280,
// ub-common-name).
const MaxName = 64

var goodName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$`)

// CheckName refuses what cannot be the name of a host. It is the agent's id.
func CheckName(name string) error {
	if !goodName.MatchString(name) || name == "fanin" {
		return fmt.Errorf("%.80q cannot be the name of a host: want 1 to %d of A-Z a-z 0-9 . _ -, beginning and "+
			"ending "+
			"with a letter or a digit, and not \"fanin\"", name, MaxName)
	}
	return nil
}

// errFormat is the error for bytes that are none of this package's.
var errFormat = errors.New("bad format")

// Refused is the collector's answer that it makes no certificate.
type Refused struct {
	Reason string
	Wait   time.Duration // how long to wait before another attempt; 0: another attempt is of no use
}

// Error is the refusal with the reason.
func (r *Refused) Error() string { return "the collector refuses: " + r.Reason }
