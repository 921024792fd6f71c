package access

import (
	"net/netip"
	"path"
	"slices"
)

const (
	kindCertificate = "certificate"
	kindToken       = "token"
	kindAddress     = "address"
)

// grants are the rules, with the tokens of each. They do not change.
type grants struct {
	rules  []Rule
	tokens [][]Token // of the rules
}

// has reports whether there is a token with a hash. It compares with all, each in constant time.
func (g *grants) has(hash *Hash) (found bool) {
	for _, tokens := range g.tokens {
		found = tokenName(tokens, hash) != "" || found
	}
	return found
}

// session returns the token of a session.
func (g *grants) session(s *session) *Token {
	for _, tokens := range g.tokens {
		for i := range tokens {
			if s.of(&tokens[i].Hash) {
				return &tokens[i]
			}
		}
	}
	return nil
}

// caller is what a peer is, with the token of a hash if it has one. What proves the most names it.
func (g *grants) caller(peer Peer, hash *Hash) Caller {
	c := Caller{Peer: peer, Kind: kindAddress, Name: peer.Address.String(), token: hash}
	if len(peer.Names) > 0 {
		c.Kind, c.Name = kindCertificate, peer.Names[0]
	}
	for i := range g.rules {
		r := &g.rules[i]
		if slices.ContainsFunc(r.Networks, func(n netip.Prefix) bool { return n.Contains(peer.Address) }) {
			c.Roles |= r.Role
		}
		if name := matching(r.Names, peer.Names); name != "" {
			c.Roles |= r.Role
			if c.Kind != kindToken {
				c.Name = name
			}
		}
		if name := tokenName(g.tokens[i], hash); name != "" {
			c.Roles |= r.Role
			c.Kind, c.Name = kindToken, name
		}
	}
	return c
}

// tokenName returns the name of the token with a hash; "" if there is none.
func tokenName(tokens []Token, hash *Hash) (name string) {
	for i := range tokens {
		if hash != nil && tokens[i].Hash.equal(hash) {
			name = tokens[i].Name
		}
	}
	return name
}

// matching returns the first of names that matches a pattern; "" if none does.
func matching(patterns, names []string) string {
	for _, name := range names {
		for _, p := range patterns {
			if ok, _ := path.Match(p, name); ok && name != "" {
				return name
			}
		}
	}
	return ""
}
