package certs

import (
	"crypto/tls"
	"fmt"
	"path"
)

// CheckPatterns reports the mistakes in patterns of names.
func CheckPatterns(patterns []string) error {
	if patterns != nil && len(patterns) == 0 {
		return fmt.Errorf("the list is empty, which would allow no certificate")
	}
	for _, p := range patterns {
		if _, err := path.Match(p, ""); err != nil || p == "" {
			return fmt.Errorf("invalid pattern of names %q; want a name such as \"web-1\", or one with wildcards "+
				"such as \"ops-*\"", p)
		}
	}
	return nil
}

// PeerNames returns the names of a peer whose certificate was verified: the common name, if there
// is one, and the DNS names. Without such a certificate there are none.
func PeerNames(state tls.ConnectionState) (names []string) {
	if len(state.VerifiedChains) == 0 {
		return nil
	}
	leaf := state.VerifiedChains[0][0]
	if cn := leaf.Subject.CommonName; cn != "" {
		names = append(names, cn)
	}
	return append(names, leaf.DNSNames...)
}

// Named returns a function that reports why a peer whose certificate was verified may not
// connect: none of its names, the common name and the DNS names, matches one of the
// patterns, which are path.Match's. Without patterns all may connect.
func Named(patterns []string) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if len(patterns) == 0 {
			return nil
		}
		if len(state.VerifiedChains) == 0 {
			return fmt.Errorf("this listener requires a certificate with a name that matches %q, and the peer has none",
				patterns)
		}
		names := PeerNames(state)
		for _, name := range names {
			for _, p := range patterns {
				if ok, _ := path.Match(p, name); ok && name != "" {
					return nil
				}
			}
		}
		return fmt.Errorf("the certificate's names %q match none of this listener's client_names %q", names, patterns)
	}
}
