package certs

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"
)

func TestNamed(t *testing.T) {
	state := func(cn string, dns ...string) tls.ConnectionState {
		return tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{Subject: pkix.Name{CommonName: cn}, DNSNames: dns}}}}
	}
	for _, c := range []struct {
		patterns []string
		state    tls.ConnectionState
		in       bool
	}{
		{nil, tls.ConnectionState{}, true},
		{[]string{"ops-*"}, state("ops-1"), true},
		{[]string{"ops-*"}, state("web-1"), false},
		{[]string{"ops-*"}, state("web-1", "ops-2"), true},
		{[]string{"web-?", "ops"}, state("ops"), true},
		{[]string{"ops"}, state("ops-1"), false},
		{[]string{"ops"}, state("xops"), false},
		{[]string{"OPS"}, state("ops"), false},
		{[]string{"*"}, state(""), false},
		{[]string{"*"}, tls.ConnectionState{}, false},
		{[]string{"*"}, tls.ConnectionState{PeerCertificates: state("ops").VerifiedChains[0]}, false}, // shown, and not verified
	} {
		if err := Named(c.patterns)(c.state); (err == nil) != c.in {
			t.Errorf("%q: %v", c.patterns, err)
		}
	}
	for _, bad := range [][]string{{}, {""}, {"a["}, {"ops", "["}} {
		if CheckPatterns(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if err := CheckPatterns([]string{"ops-*", "[a-c]?"}); err != nil {
		t.Error(err)
	}
}
