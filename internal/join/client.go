package join

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"
)

// NewKey makes a host's key.
func NewKey() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// NewRequest makes the request of a host for a certificate of its key.
func NewRequest(kind Kind, secret Secret, name string, key crypto.Signer) (*Request, error) {
	csr, err := x509.CreateCertificateRequest(rand.Reader,
		&x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		return nil, err
	}
	return &Request{Kind: kind, Secret: secret, Name: name, CSR: csr}, nil
}

// PinOf is the pin of a certificate's key.
func PinOf(c *x509.Certificate) Pin { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// Pinned is how a host dials that knows the authority's pin, and has no certificate yet.
// server is the host of the token's address.
func Pinned(pin Pin, server string, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{Protocol}, ServerName: server,
		InsecureSkipVerify: true, // VerifyConnection verifies
		VerifyConnection: func(state tls.ConnectionState) error {
			return verifyPinned(state.PeerCertificates, pin, server, now())
		},
	}
}

// errPin: the other side is not the collector that made the token.
var errPin = errors.New("the collector at this address has another authority than the one that made the token: the " +
	"token is of another collector, its authority was made anew, or another machine answers in its place; nothing " +
	"was sent to it. Ask for a new invitation")

// verifyPinned verifies a server's certificates with those of them as authority that have the
// pinned key.
func verifyPinned(chain []*x509.Certificate, pin Pin, server string, now time.Time) error {
	if len(chain) == 0 {
		return errPin
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	found := false
	for _, c := range chain[1:] {
		between.AddCert(c)
		if PinOf(c) == pin && c.IsCA {
			roots.AddCert(c)
			found = true
		}
	}
	if !found {
		return errPin
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: server,
		CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return explainTime(err, chain[0], now)
}

// explainTime explains an error that a clock may have caused.
func explainTime(err error, c *x509.Certificate, now time.Time) error {
	var bad x509.CertificateInvalidError
	if !errors.As(err, &bad) || bad.Reason != x509.Expired {
		return err
	}
	return fmt.Errorf("the clocks differ: the certificate is valid from %s to %s, and the clock of this machine "+
		"shows %s. "+
		"Set the clock that is wrong (timedatectl set-ntp true), and try again with the same token (%w)",
		c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339),
		err)
}

// Ask sends a request to a collector and returns its answer. The error is *Refused if the
// collector makes no certificate.
func Ask(ctx context.Context, address string, config *tls.Config, r *Request) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	stop := context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	nc := tls.Client(raw, config)
	if err := nc.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	if nc.ConnectionState().NegotiatedProtocol != Protocol {
		return nil, fmt.Errorf("the listener at %s gives no certificates: it is not the one of fanin-collector "+
			"pki init, "+
			"or the collector is older than its tokens", address)
	}
	if _, err := nc.Write(r.Append(nil)); err != nil {
		return nil, err
	}
	a, err := ReadAnswer(nc)
	if err != nil {
		return nil, fmt.Errorf("read the collector's answer: %w", err)
	}
	if a.Certificate == nil {
		return nil, &a.Refused
	}
	return a, nil
}

// Issued is a certificate that a collector made.
type Issued struct {
	Leaf        *x509.Certificate
	Authorities []*x509.Certificate // at least one
}

// Check returns what the answer has, if it is what was asked for: a certificate that is valid
// now, for this key and this name.
func (a *Answer) Check(key crypto.Signer, name string, now time.Time) (*Issued, error) {
	var i Issued
	var err error
	if i.Leaf, err = x509.ParseCertificate(a.Certificate); err != nil {
		return nil, fmt.Errorf("the collector's answer: %w", err)
	}
	roots := x509.NewCertPool()
	for _, der := range a.Authorities {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("the collector's answer: %w", err)
		}
		i.Authorities = append(i.Authorities, c)
		roots.AddCert(c)
	}
	if k, ok := i.Leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !k.Equal(key.Public()) {
		return nil, errors.New("the collector's answer has the certificate of another key")
	}
	if !slices.Contains(i.Leaf.DNSNames, name) {
		return nil, fmt.Errorf("the collector's answer has a certificate for %q, and not for %q", i.Leaf.DNSNames, name)
	}
	_, err = i.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err := explainTime(err, i.Leaf, now); err != nil {
		return nil, fmt.Errorf("the collector's answer: %w", err)
	}
	return &i, nil
}
