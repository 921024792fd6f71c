//go:build unix

package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fanin/internal/certs/certstest"
)

// TestCheck: what peers would refuse, or could not read, is said with the file's name.
func TestCheck(t *testing.T) {
	a := certstest.New(t)
	now := time.Now()
	good := x509.Certificate{Subject: pkix.Name{CommonName: "web-1"}, DNSNames: []string{"collector"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: now.Add(time.Hour)}
	issue := func(change func(c *x509.Certificate)) Files {
		t.Helper()
		c := good
		change(&c)
		ca, cert, key := a.Files(t.TempDir(), a.Issue(c))
		return Files{Cert: cert, Key: key, CA: ca}
	}
	same := func(*x509.Certificate) {}
	server, client := Files.CheckServer, Files.CheckClient
	f := func(name string, check func(Files, time.Time, ...string) error, files Files, names []string, want string) {
		t.Helper()
		err := check(files, now, names...)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
	f("good server", server, issue(same), []string{"collector"}, "")
	f("good client", client, issue(same), []string{"web-1"}, "")
	f("good client by a DNS name", client, issue(same), []string{"collector"}, "")
	f("client without files", client, Files{}, nil, "")
	expired := issue(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) })
	f("expired", server, expired, nil, "certificate "+expired.Cert+" (CN=web-1) expired on ")
	f("expired", client, expired, nil, "expired on")
	f("not yet valid", server, issue(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Minute) }), nil, "is not valid before")
	f("wrong name of a server", server, issue(same), []string{"elsewhere"}, `is not for "elsewhere": it names collector, 127.0.0.1, web-1`)
	f("common name of a server", server, issue(same), []string{"web-1"}, `is not for "web-1"`)
	f("wrong name of a client", client, issue(same), []string{"web-2"}, `is not for "web-2"`)
	f("server without names", server, issue(func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = nil, nil }), nil, "names no host")
	f("server with a client's certificate", server, issue(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), nil, "not meant for a server")
	f("client with a server's certificate", client, issue(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), nil, "not meant for a client")

	other := issue(same)
	f("key of another", server, Files{Cert: issue(same).Cert, Key: other.Key}, nil, "with key "+other.Key+": tls: private key does not match")
	f("no key", server, Files{Cert: other.Cert, Key: other.Key + ".none"}, nil, "no such file")
	f("key for a certificate", server, Files{Cert: other.Key, Key: other.Key}, nil, other.Key)
	f("key for an authority", server, Files{Cert: other.Cert, Key: other.Key, CA: other.Key}, nil, other.Key+" holds no certificate")
	f("expired authority", server, Files{Cert: other.Cert, Key: other.Key, CA: expired.Cert}, nil, "certificate "+expired.Cert)
	loose := issue(same)
	if err := os.Chmod(loose.Key, 0o644); err != nil {
		t.Fatal(err)
	}
	f("key for everybody", server, loose, nil, "can be read by every user")
	pipe, dir := filepath.Join(t.TempDir(), "pipe"), t.TempDir()
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	f("certificate is a pipe", server, Files{Cert: pipe, Key: other.Key}, nil, pipe+" is a named pipe")
	f("key is a pipe", server, Files{Cert: other.Cert, Key: pipe}, nil, pipe+" is a named pipe")
	f("authority is a pipe", client, Files{CA: pipe}, nil, pipe+" is a named pipe")
	f("certificate is a directory", server, Files{Cert: dir, Key: other.Key}, nil, dir+" is a directory")
	f("key is a device", server, Files{Cert: other.Cert, Key: os.DevNull}, nil, os.DevNull+" is a device")
}

// TestExpiredStarts: an expired certificate keeps nothing from starting, since it is
// taken as soon as it is renewed; it is said.
func TestExpiredStarts(t *testing.T) {
	a := certstest.New(t)
	_, cert, key := a.Files(t.TempDir(), a.Issue(x509.Certificate{DNSNames: []string{"x"}, NotAfter: time.Now().Add(-time.Hour)}))
	log, said := logged()
	c, err := Files{Cert: cert, Key: key, Log: log}.Server()
	if err != nil || !strings.Contains(said(), "expired on") || !strings.Contains(said(), cert) {
		t.Fatalf("%v; said %q", err, said())
	}
	if _, err := c.GetConfigForClient(&tls.ClientHelloInfo{}); err != nil {
		t.Error(err)
	}
}

// logged is a logger, and what it was told.
func logged() (*slog.Logger, func() string) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, nil)), b.String
}
