package zmtp

import "fmt"

// Reason is the kind of an Error, in a word for a label of a metric.
type Reason string

// Why a connection ends. What a peer does that is not listed ends with Malformed.
const (
	NotZMTP       Reason = "greeting"    // the first bytes are not those of ZMTP
	OldVersion    Reason = "version"     // the peer speaks ZMTP 1 or 2
	OtherSecurity Reason = "mechanism"   // the peer has another mechanism, or the same role in it
	Credentials   Reason = "credentials" // wrong user, password or key, on either side
	OtherType     Reason = "socket_type" // the two socket types do not fit
	Malformed     Reason = "malformed"   // a frame or command that breaks the protocol
	Oversized     Reason = "oversized"   // a message or command beyond the limits
	Replayed      Reason = "replayed"    // a CURVE box whose nonce is not above the last one
	TimedOut      Reason = "timeout"     // no complete handshake, or nothing received, in time
	Unread        Reason = "unread"      // the peer does not read
	Refused       Reason = "refused"     // the peer answered with ERROR
	Ended         Reason = "ended"       // the connection ended before the handshake was complete
)

// Error is why a connection ended that should have gone on: it says what happened, and what to
// do about it.
type Error struct {
	Reason Reason
	Text   string
	Err    error // the cause, nil if it is the peer's bytes
}

// Error says what happened, with its cause.
func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", e.Text, e.Err)
	}
	return e.Text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func failf(r Reason, format string, args ...any) *Error {
	return &Error{Reason: r, Text: fmt.Sprintf(format, args...)}
}
