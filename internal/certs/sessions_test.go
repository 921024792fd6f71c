//go:build unix

package certs

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
	"weak"

	"fanin/internal/certs/certstest"
)

// pairOf is a listener and a client with certificates of one authority.
type pairOf struct {
	t            testing.TB
	server       *tls.Config
	client       func() *tls.Config
	authority    *certstest.Authority
	gate         Gate
	files, peers Files // of the server, of the client
}

func newPairOf(t testing.TB) *pairOf {
	p := &pairOf{t: t, authority: certstest.New(t)}
	here, there := t.TempDir(), t.TempDir()
	p.files.CA, p.files.Cert, p.files.Key = p.authority.Files(here, p.authority.Sign("server"))
	p.peers.CA, p.peers.Cert, p.peers.Key = p.authority.Files(there, p.authority.Sign("agent"))
	p.files.Gate, p.files.TLS12 = &p.gate, true
	p.peers.Gate = new(Gate) // only so that its files are read again at once
	var err error
	if p.server, err = p.files.Server(); err != nil {
		t.Fatal(err)
	}
	if p.client, err = p.peers.Client(); err != nil {
		t.Fatal(err)
	}
	return p
}

// connect makes a connection over which a byte comes back, and with it the ticket of the session.
// It returns whether the server resumed a session, and which certificate the client had there.
func (p *pairOf) connect(change ...func(*tls.Config)) (resumed bool, serial string, err error) {
	p.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	defer ln.Close()
	c := p.client()
	c.ServerName = "127.0.0.1"
	for _, f := range change {
		f(c)
	}
	done := make(chan error, 1)
	go func() { // ends with the connection
		nc, err := ln.Accept()
		if err != nil {
			done <- err
			return
		}
		defer nc.Close()
		s := tls.Server(nc, p.server)
		if err = s.Handshake(); err == nil {
			state := s.ConnectionState()
			resumed, serial = state.DidResume, state.PeerCertificates[0].SerialNumber.String()
			_, err = io.CopyN(s, s, 1)
		}
		done <- err
	}()
	conn, err := tls.Dial("tcp", ln.Addr().String(), c)
	if err != nil {
		return false, "", errors.Join(err, <-done)
	}
	defer conn.Close()
	conn.Write([]byte("x"))
	_, err = io.ReadFull(conn, make([]byte, 1))
	return resumed, serial, errors.Join(<-done, err)
}

// is checks whether the next connection resumes a session.
func (p *pairOf) is(want bool, when string, change ...func(*tls.Config)) (serial string) {
	p.t.Helper()
	resumed, serial, err := p.connect(change...)
	if err != nil || resumed != want {
		p.t.Errorf("%s: resumed %v, want %v; %v", when, resumed, want, err)
	}
	return serial
}

// TestSessionIsResumed: the second connection of a client needs no certificates, and a revoked one
// is refused all the same.
func TestSessionIsResumed(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS13, tls.VersionTLS12} {
		p := newPairOf(t)
		old := func(c *tls.Config) { c.MinVersion, c.MaxVersion = version, version }
		p.is(false, "the first connection", old)
		p.is(true, "the second", old)
		p.gate.mu.Lock()
		p.gate.judge = func(Peer) error { return errors.New("it is revoked") }
		p.gate.mu.Unlock()
		if _, _, err := p.connect(old); err == nil {
			t.Errorf("%s: a revoked certificate is accepted in a session that is resumed", tls.VersionName(version))
		}
	}
}

// TestSessionOfOtherFiles: a session ends with the files of either side: a renewed certificate is
// shown, and another authority is noticed.
func TestSessionOfOtherFiles(t *testing.T) {
	p := newPairOf(t)
	first := p.is(false, "the first connection")
	p.is(true, "the second")
	renew := func(f *Files) {
		p.authority.Files(filepath.Dir(f.Cert), p.authority.Sign("renewed"))
		f.Gate.Enforce(func(Peer) error { return nil })
	}
	renew(&p.peers)
	if second := p.is(false, "with another certificate of the client"); second == first {
		t.Error("the server sees the certificate before")
	}
	p.is(true, "again")
	renew(&p.files)
	p.is(false, "with another certificate of the server")
	p.is(true, "at last")
}

// TestSessionAfterRevocation: a decision of the gate also ends the sessions before it, so that
// what changed with it is seen.
func TestSessionAfterRevocation(t *testing.T) {
	p := newPairOf(t)
	p.is(false, "the first connection")
	p.gate.Enforce(func(Peer) error { return nil })
	p.is(false, "after a decision")
	p.is(true, "the next")
}

// TestSessionOfAnotherAuthority: what an authority signed that is trusted no more does not resume.
func TestSessionOfAnotherAuthority(t *testing.T) {
	p := newPairOf(t)
	p.is(false, "the first connection")
	other := certstest.New(t)
	p.files.CA, p.files.Cert, p.files.Key = other.Files(filepath.Dir(p.files.Cert), p.authority.Sign("server"))
	p.gate.Enforce(func(Peer) error { return nil })
	if resumed, _, err := p.connect(); err == nil {
		t.Errorf("it is accepted; resumed %v", resumed)
	}
}

// BenchmarkHandshake is the CPU time of both sides, whose certificates are of ECDSA P-256, with a
// connection over the loopback.
func BenchmarkHandshake(b *testing.B) {
	p := newPairOf(b)
	for _, resumed := range []bool{false, true} {
		b.Run(map[bool]string{false: "whole", true: "resumed"}[resumed], func(b *testing.B) {
			begun, n := cpu(), 0
			for b.Loop() {
				if did, _, err := p.connect(func(c *tls.Config) {
					if !resumed {
						c.ClientSessionCache = nil
					}
				}); err != nil || did != (resumed && n > 0) {
					b.Fatal(did, err)
				}
				n++
			}
			b.ReportMetric(float64((cpu()-begun).Microseconds())/float64(n), "cpu-us")
		})
	}
}

// cpu is the CPU time of this process.
func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestHelloIsForgotten: a configuration, which a connection keeps, does not hold the client's hello, which is larger
// than all else that a connection needs.
func TestHelloIsForgotten(t *testing.T) {
	p := newPairOf(t)
	hello := &tls.ClientHelloInfo{SupportedPoints: make([]byte, 1<<10)}
	was := weak.Make(hello)
	config, err := p.server.GetConfigForClient(hello)
	if err != nil || config.VerifyConnection == nil {
		t.Fatal(err)
	}
	hello = nil
	runtime.GC()
	if was.Value() != nil {
		t.Error("it is still there")
	}
	runtime.KeepAlive(config)
}
