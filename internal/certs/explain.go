package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// The alerts of TLS about certificates and versions (RFC 8446, 6).
const (
	handshakeFailure    = tls.AlertError(40)
	badCertificate      = tls.AlertError(42)
	expiredCertificate  = tls.AlertError(45)
	unknownCertificate  = tls.AlertError(46)
	unknownAuthority    = tls.AlertError(48)
	accessDenied        = tls.AlertError(49)
	protocolVersion     = tls.AlertError(70)
	certificateRequired = tls.AlertError(116)
)

var alerts = [...]tls.AlertError{handshakeFailure, badCertificate, expiredCertificate, unknownCertificate,
	unknownAuthority, accessDenied, protocolVersion, certificateRequired}

// alertOf is the alert that the other side sent; 0: err is none of those.
func alertOf(err error) tls.AlertError {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return 0
	}
	for _, a := range alerts {
		if op.Err.Error() == a.Error() { // its type has no name
			return a
		}
	}
	return 0
}

// ExplainClient adds to an error of a TLS connection what it means to the side that dialled,
// and what to do. An unknown error stays as it is.
func (f Files) ExplainClient(err error) error {
	return explained(f.clientMeaning(err), err)
}

func explained(meaning string, err error) error {
	if meaning == "" {
		return err
	}
	return fmt.Errorf("%s (%w)", meaning, err)
}

func (f Files) clientMeaning(err error) string {
	var notTLS tls.RecordHeaderError
	if errors.As(err, &notTLS) {
		return "that port does not use TLS: write tcp:// if it is a collector's, or set tls = {...} for its listener"
	}
	if meaning := invalid("the certificate of the other side", f.authority("ca"),
		"set ca to the certificate of the authority that signed it", err); meaning != "" {
		return meaning
	}
	mine := "this side's certificate " + f.Cert
	if f.Cert == "" {
		mine = "a connection without a certificate of this side"
	}
	switch alertOf(err) {
	case certificateRequired:
		return "the other side requires a certificate: set cert and key to files that its client_ca signed"
	case unknownAuthority, unknownCertificate, badCertificate:
		if f.Cert == "" {
			return "the other side does not accept a connection without a certificate: set cert and key to files " +
				"that its client_ca signed"
		}
		return "the other side does not accept " + mine +
			": it must be signed by the authority in the listener's client_ca, and not be revoked. If it was " +
			"revoked: fanin-collector pki invite NAME on the collector, and fanin-agent join TOKEN here"
	case expiredCertificate:
		return "the other side reports that " + mine +
			" has expired or is not valid yet: renew it, or correct the clocks"
	case accessDenied:
		return "the other side does not allow " + mine
	}
	return versions(err)
}

// ExplainServer is ExplainClient for the side that listens. f.CA is its client_ca.
func (f Files) ExplainServer(err error) error {
	return explained(f.serverMeaning(err), err)
}

func (f Files) serverMeaning(err error) string {
	if strings.Contains(err.Error(), "client didn't provide a certificate") { // it has no type
		return "the peer has no certificate, and this listener requires one that " + f.CA +
			" signed (client_ca): set cert and key on the peer"
	}
	if meaning := invalid("the peer's certificate", f.authority("client_ca"),
		"sign it with that authority, or add the peer's authority to the file", err); meaning != "" {
		return meaning
	}
	switch alertOf(err) {
	case unknownAuthority, unknownCertificate, badCertificate:
		return "the peer does not trust this listener's certificate " + f.Cert +
			": set ca on the peer to the authority that signed it, and dial a name that is in it"
	case expiredCertificate:
		return "the peer reports that this listener's certificate " + f.Cert +
			" has expired or is not valid yet: renew it, or correct the clocks"
	}
	meaning := versions(err)
	if meaning != "" && !f.TLS12 {
		meaning += ". For devices that know only 1.2, give the listener tls = {..., min_version = \"1.2\"}"
	}
	return meaning
}

// authority names the authorities that this side trusts.
func (f Files) authority(key string) string {
	if f.CA == "" {
		return "an authority that this system trusts"
	}
	return fmt.Sprintf("an authority in %s (%s)", f.CA, key)
}

// invalid explains why a certificate was not accepted here.
func invalid(whose, authority, remedy string, err error) string {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var bad x509.CertificateInvalidError
	switch now := time.Now(); {
	case errors.As(err, &unknown):
		return fmt.Sprintf("%s, %s, is not signed by %s: %s", whose, subject(unknown.Cert), authority, remedy)
	case errors.As(err, &name):
		return fmt.Sprintf("%s is for %s, and not for %q: dial one of those names, or set server_name to one", whose,
			names(name.Certificate), name.Host)
	case !errors.As(err, &bad):
	case bad.Reason == x509.Expired && now.Before(bad.Cert.NotBefore):
		return fmt.Sprintf("%s, %s, is not valid before %s, and the clock here shows %s: correct the clock, or wait",
			whose, subject(bad.Cert), bad.Cert.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case bad.Reason == x509.Expired:
		return fmt.Sprintf("%s, %s, expired at %s, and the clock here shows %s: renew it, or correct the clock", whose,
			subject(bad.Cert), bad.Cert.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case bad.Reason == x509.IncompatibleUsage:
		return fmt.Sprintf("%s, %s, was made for another use: a listener's needs the extended key usage "+
			"serverAuth, a client's clientAuth", whose, subject(bad.Cert))
	}
	return ""
}

func subject(c *x509.Certificate) string {
	if c == nil {
		return "which cannot be read"
	}
	return fmt.Sprintf("%q", c.Subject.String())
}

func names(c *x509.Certificate) string {
	list := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		list = append(list, ip.String())
	}
	if len(list) == 0 {
		return "no name (a common name does not count)"
	}
	return strings.Join(list, ", ")
}

// versions explains that both sides have no version of TLS in common.
func versions(err error) string {
	text := err.Error()
	if alertOf(err) == protocolVersion || strings.Contains(text, "unsupported protocol version") ||
		strings.Contains(text, "unsupported versions") {
		return "both sides have no TLS version in common: fanin uses 1.3, and nothing older unless it is told to"
	}
	return ""
}
