package certs

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"fanin/internal/disk"
)

// CheckServer reports why peers would refuse the files of a listener at a time, or why they
// cannot be read. The certificate must have each of the names.
func (f Files) CheckServer(now time.Time, names ...string) error {
	return f.check(now, x509.ExtKeyUsageServerAuth, names)
}

// CheckClient is CheckServer for the files of a program that dials.
func (f Files) CheckClient(now time.Time, names ...string) error {
	return f.check(now, x509.ExtKeyUsageClientAuth, names)
}

func (f Files) check(now time.Time, use x509.ExtKeyUsage, names []string) error {
	p, err := f.read()
	if err != nil {
		return err
	}
	var problems []error
	if p.cert != nil {
		for _, der := range p.cert.Certificate {
			c, err := x509.ParseCertificate(der)
			if err != nil {
				return fmt.Errorf("certificate %s: %w", f.Cert, err)
			}
			problems = append(problems, valid(f.Cert, c, now))
		}
		problems = append(problems, suits(f.Cert, p.cert.Leaf, use, names))
	}
	if f.CA != "" {
		problems = append(problems, validCA(f.CA, now))
	}
	return errors.Join(problems...)
}

// valid reports when a certificate is valid if it is not valid now.
func valid(path string, c *x509.Certificate, now time.Time) error {
	switch {
	case now.After(c.NotAfter):
		return fmt.Errorf("certificate %s (%s) expired on %s: renew it", path, c.Subject,
			c.NotAfter.Format(time.RFC3339))
	case now.Before(c.NotBefore):
		return fmt.Errorf("certificate %s (%s) is not valid before %s; this machine's clock shows %s", path, c.Subject,
			c.NotBefore.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

// suits reports why peers would refuse a valid certificate here.
func suits(path string, c *x509.Certificate, use x509.ExtKeyUsage, names []string) error {
	may := func(u x509.ExtKeyUsage) bool { return u == use || u == x509.ExtKeyUsageAny }
	if len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) > 0 && !slices.ContainsFunc(c.ExtKeyUsage, may) {
		side := map[x509.ExtKeyUsage]string{x509.ExtKeyUsageServerAuth: "a server (serverAuth)",
			x509.ExtKeyUsageClientAuth: "a client (clientAuth)"}[use]
		return fmt.Errorf("certificate %s is not meant for %s: see its extended key usage", path, side)
	}
	bears := hosts(c)
	if use == x509.ExtKeyUsageServerAuth && len(bears) == 0 {
		return fmt.Errorf("certificate %s names no host: clients require a subjectAltName, and ignore the common "+
			"name %q", path, c.Subject.CommonName)
	}
	for _, name := range names {
		if use == x509.ExtKeyUsageServerAuth && c.VerifyHostname(name) != nil || use == x509.ExtKeyUsageClientAuth &&
			!slices.Contains(bears, name) && c.Subject.CommonName != name {
			return fmt.Errorf("certificate %s is not for %q: it names %s", path, name, strings.Join(append(bears,
				c.Subject.CommonName), ", "))
		}
	}
	return nil
}

// hosts are the hosts that a certificate names.
func hosts(c *x509.Certificate) (names []string) {
	names = slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// validCA requires one certificate of the authority that is valid now.
func validCA(path string, now time.Time) error {
	b, err := disk.ReadFile(path)
	if err != nil {
		return fmt.Errorf("certificates of the authority: %w", err)
	}
	var problems []error
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err == nil {
			if err = valid(path, c, now); err == nil {
				return nil
			}
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// warn logs that peers will refuse files which can be read: they may be renewed while the
// program runs, so it starts.
func (f Files) warn(err error) {
	if err != nil && f.Log != nil {
		f.Log.Warn("peers will refuse this side until the files are renewed; they are read again as soon as they "+
			"change", "err", err)
	}
}
