package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"fanin/internal/certs"
	"fanin/internal/join"
)

// handshakes reports what a client and the listener with the authority's files get from a handshake, at
// the authority's time.
func handshakes(t *testing.T, a *Authority, client *tls.Config) (atClient, atServer error) {
	t.Helper()
	paths := a.Paths()
	server, err := (certs.Files{Cert: paths.Server, Key: paths.Server, CA: paths.CA}).Server()
	if err != nil {
		t.Fatal(err)
	}
	config, err := server.GetConfigForClient(&tls.ClientHelloInfo{})
	if err != nil {
		t.Fatal(err)
	}
	config.Time, client.Time, client.ServerName = a.now, a.now, "collector.example"
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	done := make(chan error, 1)
	go func() { // ends with the pipe
		nc := tls.Server(here, config)
		err := nc.Handshake()
		if err == nil {
			_, err = nc.Write([]byte{1})
		}
		here.Close()
		done <- err
	}()
	nc := tls.Client(there, client)
	if atClient = nc.Handshake(); atClient == nil {
		_, atClient = nc.Read(make([]byte, 1))
	}
	there.Close()
	return atClient, <-done
}

// host is a host with its certificate, and the authorities that it trusts.
func host(cert *x509.Certificate, k any, trusts ...*x509.Certificate) *tls.Config {
	roots := x509.NewCertPool()
	for _, c := range trusts {
		roots.AddCert(c)
	}
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: k}}}
}

// both wants a handshake to succeed, or to fail.
func both(t *testing.T, a *Authority, when string, client *tls.Config, good bool) {
	t.Helper()
	if c, s := handshakes(t, a, client); (c == nil && s == nil) != good {
		t.Errorf("%s: the client has %v, the collector %v; want success: %v", when, c, s, good)
	}
}

// TestRotate: while both authorities are trusted, hosts connect with certificates of either, also those
// that know only the old one, and over two rotations; then only those of the new one.
func TestRotate(t *testing.T) {
	a, c := create(t)
	cert, k := joined(t, a, "web-1")
	first := a.keys.cert
	old := host(cert, k, first)
	both(t, a, "at first", old, true)
	token := invite(t, a, Invitation{Name: "web-3"}) // it pins the first authority
	for i, when := range []string{"after a rotation", "after two"} {
		c.advance(time.Hour / 4)
		if _, err := a.Rotate(HostValid); err != nil {
			t.Fatal(err)
		}
		a = reopen(t, a.dir, c)
		both(t, a, when, old, true)
		fresh, freshKey := joined(t, a, fmt.Sprint("new-", i))
		both(t, a, when+", a host that knows the new one only", host(fresh, freshKey, a.keys.cert), true)
		both(t, a, when+", a host that knows all", host(fresh, freshKey, a.keys.authorities()...), true)
		if config := join.Pinned(token.Authority, "collector.example", c.now); true {
			paths := a.Paths()
			config.Certificates = nil
			chain := serverChain(t, paths.Server)
			if err := config.VerifyConnection(tls.ConnectionState{PeerCertificates: chain}); err != nil {
				t.Errorf("%s, a token that was made before: %v", when, err)
			}
		}
	}
	if l := a.List(); len(l.Authorities) != 3 || l.Authorities[2].Until == nil {
		t.Errorf("%+v", l.Authorities)
	}
	renewedKey := key(t)
	answer, outcome := a.Sign(request(t, join.Renew, join.Secret{}, "web-1", renewedKey), cert)
	if outcome != Renewed {
		t.Fatalf("with a certificate of the first authority: %s, %q", outcome, answer.Reason)
	}
	issued, err := answer.Check(renewedKey, "web-1", c.now())
	if err != nil || len(issued.Authorities) != 3 {
		t.Fatalf("%d authorities, %v", len(issued.Authorities), err)
	}
	c.advance(HostValid + time.Hour)
	if err := a.Upkeep(); err != nil {
		t.Fatal(err)
	}
	both(t, a, "when the overlap is over", old, false)
	last, lastKey := joined(t, a, "last")
	both(t, a, "when the overlap is over, a new host", host(last, lastKey, a.keys.cert), true)
	if l := a.List(); len(l.Authorities) != 1 {
		t.Errorf("%+v", l.Authorities)
	}
	if err := a.Refuses(peer(cert)); err == nil || !strings.Contains(err.Error(), "no longer trusted") {
		t.Errorf("a connection that is open: %v", err)
	}
}

// serverChain reads the certificates that the collector shows.
func serverChain(t *testing.T, path string) (chain []*x509.Certificate) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(path, path)
	if err != nil {
		t.Fatal(err)
	}
	for _, der := range pair.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, c)
	}
	return chain
}

// TestRotateStolen: with an overlap of 0 everything that was made so far is refused at once.
func TestRotateStolen(t *testing.T) {
	a, c := create(t)
	cert, k := joined(t, a, "web-1")
	old := host(cert, k, a.keys.cert)
	c.advance(time.Minute)
	if _, err := a.Rotate(0); err != nil {
		t.Fatal(err)
	}
	if a.Refuses(peer(cert)) == nil {
		t.Error("open connections stay")
	}
	both(t, a, "the old host", old, false)
	both(t, reopen(t, a.dir, c), "after a restart", old, false)
	refuses(t, a, request(t, join.Renew, join.Secret{}, "web-1", key(t)), cert, "a host must show its present certificate")
	fresh, freshKey := joined(t, a, "web-1")
	both(t, a, "with a new invitation", host(fresh, freshKey, a.keys.cert), true)
}

// TestRotateOften: the number of authorities is bounded.
func TestRotateOften(t *testing.T) {
	a, _ := create(t)
	for range maxOlder {
		if _, err := a.Rotate(HostValid); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Rotate(HostValid); err == nil || !strings.Contains(err.Error(), "--overlap 0") {
		t.Errorf("one more: %v", err)
	}
	if _, err := a.Rotate(0); err != nil || len(a.keys.older) != 0 {
		t.Errorf("without an overlap: %v, %d are left", err, len(a.keys.older))
	}
	if _, err := a.Rotate(-1); err == nil {
		t.Error("a negative overlap is possible")
	}
}

// TestParallel: requests at the same time get numbers of their own, and an invitation admits no more hosts
// than it is for.
func TestParallel(t *testing.T) {
	a, _ := create(t)
	const uses, hosts = 5, 20
	token := invite(t, a, Invitation{Pattern: "k8s-*", Uses: uses})
	requests := make([]*join.Request, hosts)
	for i := range requests {
		requests[i] = request(t, join.Join, token.Secret, fmt.Sprint("k8s-", i), key(t))
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	serials := make(map[string]bool)
	for i := range requests {
		all.Go(func() {
			answer, outcome := a.Sign(requests[i], nil)
			if outcome != Joined {
				return
			}
			c, err := x509.ParseCertificate(answer.Certificate)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			serials[serialText(c.SerialNumber)] = true
			a.Refuses(peer(c))
		})
	}
	all.Go(func() { a.List() })
	all.Go(func() { a.Rotate(HostValid) })
	all.Go(func() { a.Upkeep() })
	all.Wait()
	if len(serials) != uses {
		t.Errorf("%d hosts have joined, want %d", len(serials), uses)
	}
}

var errKilled = errors.New("killed")

// TestOpenBroken: files of an authority that are damaged are refused, and nothing is made in their place.
func TestOpenBroken(t *testing.T) {
	for _, name := range []string{authorityName, registerName} {
		a, c := create(t)
		path := a.dir + "/" + name
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"", "{}", string(whole[:len(whole)/2])} {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(a.disk, a.dir, c.now); err == nil || !strings.Contains(err.Error(), "restore it from a backup") && !strings.Contains(err.Error(), "version 0") {
				t.Errorf("%s with %d bytes: %v", name, len(text), err)
			}
			if got, _ := os.ReadFile(path); string(got) != text {
				t.Errorf("%s was written", name)
			}
		}
	}
}
