// Package certs makes TLS configurations from files, and reads the files again when they
// change: certificates are renewed while programs run.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"fanin/internal/disk"
)

// Files names the files of one side. A server needs Cert and Key; with CA it requires
// certificates from its peers that CA signed. A client needs CA, unless the system's
// authorities suffice, and Cert and Key where the server requires them.
type Files struct {
	Cert, Key, CA string
	ServerName    string       // client: the name that the server's certificate must have; default: the host dialled
	TLS12         bool         // server: accept TLS 1.2, too, for devices that know nothing newer
	Gate          *Gate        // server, with CA: refuses certificates that were revoked; nil: none is
	Joins         string       // server: with this protocol (ALPN), a peer may come without a certificate; "": none may
	Log           *slog.Logger // for changed files that cannot be used; nil: not logged
}

// pair is what was read from Files.
type pair struct {
	cert  *tls.Certificate
	roots *x509.CertPool
	times []time.Time

	sessions
}

// reloader reads the files again when they have changed, at most once a second, and keeps
// what it has while they cannot be used.
type reloader struct {
	files Files
	mu    sync.Mutex
	now   pair
	seen  time.Time
	asked uint64 // see Gate.changed
}

func (f Files) reloader() (*reloader, error) {
	p, err := f.read()
	if err != nil {
		return nil, err
	}
	return &reloader{files: f, now: p, seen: time.Now(), asked: f.Gate.changed()}, nil
}

func (f Files) read() (p pair, err error) {
	if f.Cert != "" || f.Key != "" {
		if err := private(f.Key); err != nil {
			return p, err
		}
		if p.cert, err = f.keyPair(); err != nil {
			return p, err
		}
	}
	if f.CA != "" {
		b, err := disk.ReadFile(f.CA)
		if err != nil {
			return p, fmt.Errorf("certificates of the authority: %w", err)
		}
		p.roots = x509.NewCertPool()
		if !p.roots.AppendCertsFromPEM(b) {
			return p, fmt.Errorf("%s holds no certificate in PEM form", f.CA)
		}
	}
	p.times, p.sessions = f.times(), newSessions()
	return p, nil
}

// Leaf returns the first certificate of a file.
func Leaf(path string) (*x509.Certificate, error) {
	b, err := disk.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	block, rest := pem.Decode(b)
	for block != nil && block.Type != "CERTIFICATE" { // a key may be in the same file
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", path)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", path, err)
	}
	return leaf, nil
}

// Names returns the names in a certificate file: the subject's common name, if there is one,
// and the DNS names.
func Names(path string) ([]string, error) {
	leaf, err := Leaf(path)
	if err != nil {
		return nil, err
	}
	names := slices.Clone(leaf.DNSNames)
	if cn := leaf.Subject.CommonName; cn != "" {
		names = append(names, cn)
	}
	return names, nil
}

func (f Files) keyPair() (*tls.Certificate, error) {
	cert, err := disk.ReadFile(f.Cert)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	key, err := disk.ReadFile(f.Key)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	c, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", f.Cert, f.Key, err)
	}
	return &c, nil
}

// private refuses a key that every user can read.
func private(path string) error {
	if err := disk.Regular(path); err != nil {
		return fmt.Errorf("private key: %w", err)
	}
	fi, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("private key: %w", err)
	}
	if fi.Mode().Perm()&0o007 != 0 {
		return fmt.Errorf("private key %s can be read by every user (mode %04o): chmod 0640 %s", path, fi.Mode().Perm(),
			path)
	}
	return nil
}

func (f Files) times() (times []time.Time) {
	for _, path := range []string{f.Cert, f.Key, f.CA} {
		if fi, err := os.Stat(path); err == nil {
			times = append(times, fi.ModTime())
		}
	}
	return times
}

// current is what to use for the next handshake.
func (r *reloader) current() pair {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked := r.files.Gate.changed()
	if time.Since(r.seen) < time.Second && asked == r.asked {
		return r.now
	}
	r.seen = time.Now()
	times := r.files.times()
	if asked != r.asked {
		r.asked = asked
	} else if slices.EqualFunc(times, r.now.times, time.Time.Equal) {
		return r.now
	}
	p, err := r.files.read()
	if err != nil {
		if r.files.Log != nil {
			r.files.Log.Error("changed certificates cannot be used; continuing with the old ones", "err", err)
		}
		r.now.times = times
		return r.now
	}
	r.now = p
	return p
}

// Server is a listener's configuration.
func (f Files) Server() (*tls.Config, error) {
	if f.Cert == "" || f.Key == "" {
		return nil, errors.New("tls needs cert and key")
	}
	r, err := f.reloader()
	if err != nil {
		return nil, err
	}
	f.warn(f.CheckServer(time.Now()))
	least := uint16(tls.VersionTLS13)
	if f.TLS12 {
		least = tls.VersionTLS12
	}
	tickets := new(tls.Config) // its keys seal the tickets of sessions; package tls renews them
	return &tls.Config{
		MinVersion: least,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			p := r.current()
			c := &tls.Config{MinVersion: least, Certificates: []tls.Certificate{*p.cert},
				DynamicRecordSizingDisabled: true}
			if p.roots != nil {
				c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, p.roots
			}
			p.offer(c, tickets)
			f.join(c, hello)
			return c, nil
		},
	}, nil
}

// join sets what a handshake needs for Joins and Gate.
func (f Files) join(c *tls.Config, hello *tls.ClientHelloInfo) {
	if f.Joins != "" && slices.Contains(hello.SupportedProtos, f.Joins) {
		c.MinVersion, c.NextProtos = tls.VersionTLS13, []string{f.Joins}
		if c.ClientCAs != nil {
			c.ClientAuth = tls.VerifyClientCertIfGiven
		}
	}
	if f.Gate != nil {
		nc := hello.Conn // hello is 6 KiB, and a connection keeps its configuration
		c.VerifyConnection = func(state tls.ConnectionState) error { return f.Gate.admit(nc, &state) }
	}
}

// Client is a configuration to dial with. It is made anew for each connection. All of them
// share the sessions that can be resumed.
func (f Files) Client() (func() *tls.Config, error) {
	r, err := f.reloader()
	if err != nil {
		return nil, err
	}
	f.warn(f.CheckClient(time.Now()))
	return func() *tls.Config {
		p := r.current()
		c := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: p.roots, ServerName: f.ServerName,
			ClientSessionCache: p.resumable, DynamicRecordSizingDisabled: true}
		if p.cert != nil {
			c.Certificates = []tls.Certificate{*p.cert}
		}
		return c
	}, nil
}
