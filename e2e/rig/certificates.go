package rig

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Certificates signs those of a collector on this machine, and of its agents. They are good for a day.
type Certificates struct {
	Pool            *x509.CertPool // with the authority
	CA, Server, Key string         // files in PEM, for the collector

	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// NewCertificates makes an authority, and writes its files to dir.
func NewCertificates(dir string) (*Certificates, error) {
	c := &Certificates{Pool: x509.NewCertPool(), CA: filepath.Join(dir, "ca.crt"),
		Server: filepath.Join(dir, "server.crt"), Key: filepath.Join(dir, "server.key")}
	var err error
	if c.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	own := x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign}
	der, err := c.sign(own, &own, &c.key.PublicKey)
	if err != nil {
		return nil, err
	}
	if c.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	c.Pool.AddCert(c.cert)
	if err := writePEM(c.CA, "CERTIFICATE", der); err != nil {
		return nil, err
	}
	return c, c.write(c.Server, c.Key, "localhost")
}

// WriteFiles signs a certificate of a name, and writes it and its key to dir.
func (c *Certificates) WriteFiles(dir, name string) (cert, key string, err error) {
	cert, key = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	return cert, key, c.write(cert, key, name)
}

func (c *Certificates) write(cert, key, name string) error {
	signed, err := c.Sign(name)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(signed.PrivateKey)
	if err != nil {
		return err
	}
	return errors.Join(writePEM(cert, "CERTIFICATE", signed.Certificate[0]), writePEM(key, "PRIVATE KEY", der))
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// Sign makes a certificate of a name, for 127.0.0.1.
func (c *Certificates) Sign(name string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	der, err := c.sign(x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, c.cert, &key.PublicKey)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

func (c *Certificates) sign(t x509.Certificate, parent *x509.Certificate, key *ecdsa.PublicKey) ([]byte, error) {
	t.SerialNumber = big.NewInt(time.Now().UnixNano())
	t.NotBefore, t.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	return x509.CreateCertificate(rand.Reader, &t, parent, key, c.key)
}
