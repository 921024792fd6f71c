package access

import "net/netip"

// Rule grants a role.
type Rule struct {
	Role     Role
	Names    []string       // to certificates: patterns of names, as path.Match has them
	Networks []netip.Prefix // to peers without proof
	Tokens   string         // to the tokens in this file; "": to none
}

// Local are the rules where none are configured: this machine may read and work.
func Local() []Rule {
	return []Rule{{Role: Read | Work, Networks: []netip.Prefix{
		netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}}
}
