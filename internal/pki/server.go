package pki

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"fanin/internal/disk"
)

// serverFiles are the files that follow from the keyring, as they are on the disk.
type serverFiles struct {
	leaf *x509.Certificate // the collector's certificate; nil: it must be made
}

// follow makes the files that follow from the keyring, where they do not fit it. It is called
// with mu, or before the authority is used.
func (a *Authority) follow() error {
	now := a.now()
	var trusted bytes.Buffer
	for _, c := range a.keys.trusted(now).authorities() {
		pem.Encode(&trusted, &pem.Block{Type: blockCert, Bytes: c.Raw}) // into memory
	}
	path := filepath.Join(a.dir, caName)
	if have, err := os.ReadFile(path); err != nil || !bytes.Equal(have, trusted.Bytes()) {
		if err := a.disk.WriteFile(path, trusted.Bytes(), 0o644); err != nil {
			return err
		}
	}
	if a.server.leaf == nil {
		a.server.leaf = a.readServer()
	}
	if a.fits(a.server.leaf, now) {
		return nil
	}
	return a.issueServer(now)
}

// readServer reads the collector's certificate; nil: it must be made.
func (a *Authority) readServer() *x509.Certificate {
	text, err := disk.ReadFile(filepath.Join(a.dir, serverName))
	if err != nil {
		return nil
	}
	block, rest := pem.Decode(text)
	if block == nil || !bytes.Contains(rest, []byte(blockKey)) || !bytes.HasSuffix(text, []byte("-----\n")) {
		return nil
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	return c
}

// fits reports whether the collector's certificate can stay: it is the present authority's, has
// all names, and less than two thirds of its time are over.
func (a *Authority) fits(c *x509.Certificate, now time.Time) bool {
	if c == nil || !bytes.Equal(c.AuthorityKeyId, a.keys.cert.SubjectKeyId) {
		return false
	}
	for _, name := range a.register.Names {
		if c.VerifyHostname(name) != nil {
			return false
		}
	}
	return !now.Before(c.NotBefore) && now.Before(RenewAt(c))
}

// RenewAt is when a certificate is renewed: when two thirds of its time are over.
func RenewAt(c *x509.Certificate) time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 3 * 2)
}

// issueServer makes the collector's certificate and its key: one file, so that both change at
// once. Behind the certificate are all that lead a peer from any authority that it trusts to it.
func (a *Authority) issueServer(now time.Time) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	t := a.leafTemplate(now, x509.ExtKeyUsageServerAuth)
	t.SerialNumber = authorityTemplate(now).SerialNumber
	t.Subject = pkix.Name{CommonName: a.register.Names[0]}
	for _, name := range append(slices.Clone(a.register.Names), "localhost", "127.0.0.1", "::1") {
		if ip, err := netip.ParseAddr(name); err == nil {
			t.IPAddresses = append(t.IPAddresses, ip.AsSlice())
		} else {
			t.DNSNames = append(t.DNSNames, name)
		}
	}
	leaf, err := issue(t, a.keys.cert, key.Public(), a.keys.key)
	if err != nil {
		return err
	}
	text, err := a.serverText(leaf, key)
	if err != nil {
		return err
	}
	if err := a.disk.WriteFile(filepath.Join(a.dir, serverName), text, 0o600); err != nil {
		return err
	}
	a.server.leaf = leaf
	return nil
}

func (a *Authority) serverText(leaf *x509.Certificate, key crypto.Signer) ([]byte, error) {
	chain := []*x509.Certificate{leaf}
	for _, o := range a.keys.older {
		chain = append(chain, o.cross)
	}
	var b bytes.Buffer
	for _, c := range append(chain, a.keys.authorities()...) {
		pem.Encode(&b, &pem.Block{Type: blockCert, Bytes: c.Raw}) // into memory
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	pem.Encode(&b, &pem.Block{Type: blockKey, Bytes: der})
	return b.Bytes(), nil
}

// leafTemplate is what all certificates have in common that are no authority's.
func (a *Authority) leafTemplate(now time.Time, use x509.ExtKeyUsage) *x509.Certificate {
	end := now.Add(HostValid)
	if end.After(a.keys.cert.NotAfter) {
		end = a.keys.cert.NotAfter
	}
	return &x509.Certificate{NotBefore: now.Add(-backdate), NotAfter: end, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{use}}
}
