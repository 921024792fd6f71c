package access

import "fmt"

// Refused is why a peer is refused, with a reason for the metrics.
type Refused struct {
	Reason string // ReasonToken and so on
	Text   string
}

// The reasons.
const (
	ReasonRole        = "role"          // it lacks the role
	ReasonToken       = "token"         // its token is not known
	ReasonLimited     = "token_limited" // the same, and its address tried too often
	ReasonUnencrypted = "unencrypted"   // it sent a token over the network as it is
)

// Error returns the text.
func (r *Refused) Error() string { return r.Text }

// Require returns a Refused if a caller lacks a role.
func Require(c Caller, need Role) error {
	if c.Roles.Has(need) {
		return nil
	}
	who := c.String()
	if c.Roles == 0 && c.Kind == kindAddress {
		who = c.Address.String() + ", which showed neither a token nor a certificate with a name that is known,"
	}
	return &Refused{ReasonRole, fmt.Sprintf("%s lacks the role %s: see [[collector.access]]", who, name(need))}
}

// name is the name of one role.
func name(r Role) string { return r.Names()[len(r.Names())-1] }
