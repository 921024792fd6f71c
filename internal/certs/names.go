package certs

import (
	"crypto/tls"
	"fmt"
	"path"
)

// CheckPatterns says what is wrong with patterns of names.
func CheckPatterns(patterns []string) error {
	if patterns != nil && len(patterns) == 0 {
		return fmt.Errorf("the list is empty, which would let no certificate in")
	}
	for _, p := range patterns {
		if _, err := path.Match(p, ""); err != nil || p == "" {
			return fmt.Errorf("%q is no pattern of names; want a name such as \"web-1\", or one with wildcards such as \"ops-*\"", p)
		}
	}
	return nil
}

// Named returns a function that says why a peer whose certificate was verified is
// not let in: none of its names, the common name and the DNS names, fits one of the
// patterns, which are path.Match's. Without patterns all are let in.
func Named(patterns []string) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if len(patterns) == 0 {
			return nil
		}
		if len(state.VerifiedChains) == 0 {
			return fmt.Errorf("this listener wants a certificate with a name that fits %q, and the peer has shown none", patterns)
		}
		leaf := state.VerifiedChains[0][0]
		names := append([]string{leaf.Subject.CommonName}, leaf.DNSNames...)
		for _, name := range names {
			for _, p := range patterns {
				if ok, _ := path.Match(p, name); ok && name != "" {
					return nil
				}
			}
		}
		return fmt.Errorf("the certificate's names %q fit none of %q, which are this listener's client_names", names, patterns)
	}
}
