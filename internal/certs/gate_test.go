//go:build unix

package certs

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"sync"
	"testing"

	"fanin/internal/certs/certstest"
)

// connection is a connection over the loopback, as a listener accepts it.
func connection(t *testing.T, ln net.Listener) (here, there net.Conn) {
	t.Helper()
	there, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if here, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { here.Close(); there.Close() })
	return here, there
}

func shown(name string) *tls.ConnectionState {
	leaf := &x509.Certificate{Subject: pkix.Name{CommonName: name}, SerialNumber: big.NewInt(1)}
	return &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf}}}
}

// TestGate: a certificate is refused as soon as it is decided, and the connections that have it
// are closed, and no others; those that were closed are forgotten.
func TestGate(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var g Gate
	bad, _ := connection(t, ln)
	good, _ := connection(t, ln)
	nameless, _ := connection(t, ln)
	for nc, state := range map[net.Conn]*tls.ConnectionState{bad: shown("bad"), good: shown("good"), nameless: {}} {
		if err := g.admit(nc, state); err != nil {
			t.Fatal(err)
		}
	}
	judge := func(p Peer) error {
		if p.Name == "bad" {
			return errors.New("revoked")
		}
		return nil
	}
	if n := g.Enforce(judge); n != 1 || !isClosed(bad) || isClosed(good) || isClosed(nameless) {
		t.Errorf("%d were closed: bad %v, good %v, without a certificate %v", n, isClosed(bad), isClosed(good), isClosed(nameless))
	}
	if err := g.admit(nameless, shown("bad")); err == nil {
		t.Error("it is admitted again")
	}
	for range 3 * minSweep {
		nc, _ := connection(t, ln)
		if err := g.admit(nc, shown("good")); err != nil {
			t.Fatal(err)
		}
		nc.Close()
	}
	if len(g.open) > minSweep+1 {
		t.Errorf("%d connections are known, and one is open", len(g.open))
	}
}

// TestGateRace: whichever comes first, a handshake or a revocation, no connection stays.
func TestGateRace(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for range 200 {
		var g Gate
		nc, _ := connection(t, ln)
		var both sync.WaitGroup
		var refused error
		both.Go(func() { refused = g.admit(nc, shown("bad")) })
		both.Go(func() { g.Enforce(func(Peer) error { return errors.New("revoked") }) })
		both.Wait()
		if refused == nil && !isClosed(nc) {
			t.Fatal("a refused connection stays open")
		}
	}
}

// TestGateRereads: files that change with a decision are read at the next handshake, without the
// pause of a second that other changes have.
func TestGateRereads(t *testing.T) {
	a, dir := certstest.New(t), t.TempDir()
	ca, cert, key := a.Files(dir, a.Sign("first", "collector"))
	var g Gate
	config, err := Files{Cert: cert, Key: key, CA: ca, Gate: &g}.Server()
	if err != nil {
		t.Fatal(err)
	}
	a.Files(dir, a.Sign("second", "collector"))
	g.Enforce(func(Peer) error { return nil })
	if got := served(t, config); got != "second" {
		t.Errorf("the listener shows %q", got)
	}
}
