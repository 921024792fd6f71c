// Package certstest signs certificates for tests.
package certstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority signs certificates, which are good for an hour.
type Authority struct {
	t    testing.TB
	key  *ecdsa.PrivateKey
	cert *x509.Certificate

	Pool *x509.CertPool // with the authority's own certificate
}

// New makes an authority.
func New(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{t: t, Pool: x509.NewCertPool()}
	a.key = newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.Pool.AddCert(a.cert)
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Sign makes a certificate of a common name, for 127.0.0.1 and the dns names.
func (a *Authority) Sign(name string, dns ...string) tls.Certificate {
	return a.SignFor(time.Time{}, time.Now().Add(time.Hour), []net.IP{net.IPv4(127, 0, 0, 1)}, name, dns...)
}

// SignFor makes a certificate that is valid for a time, for some addresses and the dns names.
func (a *Authority) SignFor(from, until time.Time, addresses []net.IP, name string, dns ...string) tls.Certificate {
	a.t.Helper()
	return a.Issue(x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: dns, IPAddresses: addresses, NotBefore: from, NotAfter: until})
}

// Issue makes a certificate that says what the template says.
func (a *Authority) Issue(template x509.Certificate) tls.Certificate {
	a.t.Helper()
	key := newKey(a.t)
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	der, err := x509.CreateCertificate(rand.Reader, &template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Files writes the authority's certificate and another with its key to dir, as
// ca.pem, cert.pem and key.pem.
func (a *Authority) Files(dir string, c tls.Certificate) (ca, cert, key string) {
	a.t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		a.t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			a.t.Fatal(err)
		}
		return path
	}
	return write("ca.pem", "CERTIFICATE", a.cert.Raw), write("cert.pem", "CERTIFICATE", c.Certificate[0]), write("key.pem", "PRIVATE KEY", der)
}
