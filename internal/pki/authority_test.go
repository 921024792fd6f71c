package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fanin/internal/certs"
	"fanin/internal/disk"
	"fanin/internal/join"
)

// clock is a clock that tests set.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.at.Store(time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

const address = "collector.example:6793"

// create makes an authority whose clock the test sets.
func create(t testing.TB) (*Authority, *clock) {
	t.Helper()
	c, dir := newClock(), filepath.Join(t.TempDir(), "pki")
	if err := Create(new(disk.Disk), dir, []string{"collector.example", "192.0.2.1"}, c.now()); err != nil {
		t.Fatal(err)
	}
	return reopen(t, dir, c), c
}

func reopen(t testing.TB, dir string, c *clock) *Authority {
	t.Helper()
	a, err := Open(new(disk.Disk), dir, c.now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// invite returns the token of an invitation.
func invite(t testing.TB, a *Authority, i Invitation) *join.Token {
	t.Helper()
	i.Address = address
	token, _, err := a.Invite(i)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func key(t testing.TB) crypto.Signer {
	t.Helper()
	k, err := join.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func request(t testing.TB, kind join.Kind, secret join.Secret, name string, k crypto.Signer) *join.Request {
	t.Helper()
	r, err := join.NewRequest(kind, secret, name, k)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// joined is the certificate of a host that joins.
func joined(t testing.TB, a *Authority, name string) (*x509.Certificate, crypto.Signer) {
	t.Helper()
	k := key(t)
	answer, outcome := a.Sign(request(t, join.Join, invite(t, a, Invitation{Name: name}).Secret, name, k), nil)
	if outcome != Joined {
		t.Fatalf("%s: %s (%s)", name, outcome, answer.Reason)
	}
	return leaf(t, answer), k
}

func leaf(t testing.TB, answer *join.Answer) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(answer.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func peer(c *x509.Certificate) certs.Peer {
	return certs.Peer{Name: c.Subject.CommonName, Serial: c.SerialNumber, Authority: string(c.AuthorityKeyId)}
}

// refuses wants a request to be refused with some words.
func refuses(t *testing.T, a *Authority, r *join.Request, holder *x509.Certificate, words string) {
	t.Helper()
	answer, outcome := a.Sign(r, holder)
	if outcome != Denied || answer.Certificate != nil || !strings.Contains(answer.Reason, words) {
		t.Errorf("%s, %q; want a refusal with %q", outcome, answer.Reason, words)
	}
}

// TestCreate: the files are there with their modes, exactly once.
func TestCreate(t *testing.T) {
	a, c := create(t)
	for name, mode := range map[string]fs.FileMode{authorityName: 0o600, registerName: 0o600, serverName: 0o600} {
		fi, err := os.Stat(filepath.Join(a.dir, name))
		if err != nil || fi.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v; want mode %v", name, fi, err, mode)
		}
	}
	if err := Create(new(disk.Disk), a.dir, []string{"other"}, c.now()); !errors.Is(err, ErrExists) {
		t.Errorf("a second authority: %v", err)
	}
	files := certs.Files{Cert: a.Paths().Server, Key: a.Paths().Server, CA: a.Paths().CA}
	for _, name := range []string{"collector.example", "192.0.2.1", "localhost", "127.0.0.1", "::1"} {
		if err := files.CheckServer(c.now(), name); err != nil {
			t.Error(err)
		}
	}
	if names, err := NamesIn(a.dir); err != nil || len(names) != 2 {
		t.Errorf("%q, %v", names, err)
	}
	if _, err := Open(new(disk.Disk), filepath.Join(t.TempDir(), "none"), c.now); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("where there is none: %v", err)
	}
	if err := os.Remove(filepath.Join(a.dir, registerName)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(new(disk.Disk), a.dir, c.now); err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "would accept revoked certificates") {
		t.Errorf("without its register: %v", err)
	}
}

// TestTokens: each way in which a token can be wrong is refused with what to do; the same token
// with the same key can be repeated, also after a restart.
func TestTokens(t *testing.T) {
	a, c := create(t)
	token, k := invite(t, a, Invitation{Name: "web-1"}), key(t)
	refuses(t, a, request(t, join.Join, join.NewSecret(), "web-1", k), nil, "the token is not known")
	refuses(t, a, request(t, join.Join, token.Secret, "web-2", k), nil, `the token is for "web-1", and not for "web-2"`)
	r := request(t, join.Join, token.Secret, "web-1", k)
	if answer, outcome := a.Sign(r, nil); outcome != Joined {
		t.Fatalf("%s, %q", outcome, answer.Reason)
	}
	c.advance(time.Minute)
	a = reopen(t, a.dir, c)
	answer, outcome := a.Sign(r, nil)
	if outcome != Repeated {
		t.Fatalf("the answer was lost: %s, %q", outcome, answer.Reason)
	}
	if _, err := answer.Check(k, "web-1", c.now()); err != nil {
		t.Error(err)
	}
	refuses(t, a, request(t, join.Join, token.Secret, "web-1", key(t)), nil, "the token was used already, with another key")
	c.advance(TokenValid)
	refuses(t, a, r, nil, "the token expired at 2030-05-01T13:00:00Z")
	withdrawn := invite(t, a, Invitation{Name: "web-3"})
	if _, err := a.Revoke("web-3"); err != nil {
		t.Error(err)
	}
	refuses(t, a, request(t, join.Join, withdrawn.Secret, "web-3", k), nil, "the token is not known")

	text, err := os.ReadFile(filepath.Join(a.dir, registerName))
	if err != nil || strings.Contains(string(text), token.String()) || strings.Contains(string(text), string(token.Secret[:])) {
		t.Error("the register has the token", err)
	}
}

// TestInvitations: what cannot be invited.
func TestInvitations(t *testing.T) {
	a, c := create(t)
	for _, bad := range []Invitation{{}, {Name: "a/b"}, {Name: "a", Pattern: "b*"}, {Pattern: "["}, {Pattern: "a*"}, {Pattern: "a*", Uses: maxUses + 1},
		{Name: "a", Valid: time.Second}, {Name: "a", Valid: MaxTokenValid + 1}, {Name: "a", Address: "nowhere"}} {
		if bad.Address == "" {
			bad.Address = address
		}
		if _, _, err := a.Invite(bad); err == nil {
			t.Errorf("%+v is possible", bad)
		}
	}
	for range 3 {
		invite(t, a, Invitation{Name: "web-1", Valid: time.Minute})
	}
	for len(a.register.Invitations) < maxInvitations {
		a.register.Invitations = append(a.register.Invitations, a.register.Invitations[0])
	}
	if _, _, err := a.Invite(Invitation{Name: "web-1", Address: address}); err == nil || !strings.Contains(err.Error(), "1000 invitations are open") {
		t.Errorf("one more: %v", err)
	}
	c.advance(time.Minute)
	invite(t, a, Invitation{Name: "web-1"})
	if got := a.List().Invitations[0].State; got != Expired {
		t.Errorf("the first is %s", got)
	}
}

// TestRequestAsksForMore: names and validity are the authority's, whatever the request has.
func TestRequestAsksForMore(t *testing.T) {
	a, c := create(t)
	k := key(t)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "db-1", Organization: []string{"admin"}}, DNSNames: []string{"db-1", "collector.example"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)},
		ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 3, 1, 1, 0xff}}}, // CA:TRUE
	}, k)
	if err != nil {
		t.Fatal(err)
	}
	token := invite(t, a, Invitation{Name: "web-1"})
	answer, outcome := a.Sign(&join.Request{Kind: join.Join, Secret: token.Secret, Name: "web-1", CSR: csr}, nil)
	if outcome != Joined {
		t.Fatalf("%s, %q", outcome, answer.Reason)
	}
	got := leaf(t, answer)
	if got.IsCA || got.Subject.String() != "CN=web-1" || len(got.DNSNames) != 1 || got.DNSNames[0] != "web-1" || got.IPAddresses != nil ||
		len(got.ExtKeyUsage) != 1 || got.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth || !got.NotAfter.Equal(c.now().Add(HostValid)) {
		t.Errorf("the certificate is for %s, %q, %v, CA %v, until %s", got.Subject, got.DNSNames, got.ExtKeyUsage, got.IsCA, got.NotAfter)
	}
}

// TestBadRequests: a request without the key that it names, or with a weak one.
func TestBadRequests(t *testing.T) {
	a, _ := create(t)
	token := invite(t, a, Invitation{Name: "web-1"})
	r := request(t, join.Join, token.Secret, "web-1", key(t))
	forged := *r
	forged.CSR = append([]byte(nil), r.CSR...)
	forged.CSR[len(forged.CSR)-1] ^= 1
	refuses(t, a, &forged, nil, "the certificate request is invalid")
	forged.CSR = []byte("none")
	refuses(t, a, &forged, nil, "the certificate request is invalid")
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err == nil { // newer libraries do not make one
		refuses(t, a, request(t, join.Join, token.Secret, "web-1", weak), nil, "1024 bits")
	}
	if _, outcome := a.Sign(r, nil); outcome != Joined {
		t.Errorf("after refusals: %s", outcome)
	}
}

// TestMany: one token gives each of many hosts a certificate for its own name, once.
func TestMany(t *testing.T) {
	a, c := create(t)
	joined(t, a, "k8s-old")
	token := invite(t, a, Invitation{Pattern: "k8s-*", Uses: 2, Valid: 24 * time.Hour})
	one, two := key(t), key(t)
	ask := func(name string, k crypto.Signer) *join.Request { return request(t, join.Join, token.Secret, name, k) }
	refuses(t, a, ask("web-1", one), nil, `the token is for "k8s-*", and not for "web-1"`)
	refuses(t, a, ask("k8s-old", one), nil, `"k8s-old" has or had a certificate already`)
	if _, outcome := a.Sign(ask("k8s-1", one), nil); outcome != Joined {
		t.Error(outcome)
	}
	if _, outcome := a.Sign(ask("k8s-1", one), nil); outcome != Repeated {
		t.Error(outcome)
	}
	refuses(t, a, ask("k8s-1", two), nil, `"k8s-1" has or had a certificate already`)
	if _, outcome := a.Sign(ask("k8s-2", two), nil); outcome != Joined {
		t.Error(outcome)
	}
	refuses(t, a, ask("k8s-3", key(t)), nil, "the token was for 2 hosts")
	if _, err := a.Revoke("k8s-2"); err != nil {
		t.Fatal(err)
	}
	c.advance(20 * time.Hour)
	refuses(t, a, ask("k8s-2", key(t)), nil, `"k8s-2" has or had a certificate already`)
	again := invite(t, a, Invitation{Name: "k8s-2"})
	if _, outcome := a.Sign(request(t, join.Join, again.Secret, "k8s-2", key(t)), nil); outcome != Joined {
		t.Errorf("with an invitation of its own: %s", outcome)
	}
	c.advance(4 * time.Hour)
	refuses(t, a, ask("k8s-1", one), nil, "the token expired")
}

// TestRevokedForGood: every certificate that a name has got so far is refused, listed or not, after a
// restart, and whatever the clock shows. A new invitation works.
func TestRevokedForGood(t *testing.T) {
	a, c := create(t)
	var stolen []*x509.Certificate
	for range maxOfName + 2 {
		cert, _ := joined(t, a, "web-1")
		stolen = append(stolen, cert)
	}
	other, _ := joined(t, a, "web-2")
	if n := len(a.register.Certificates); n != maxOfName+1 {
		t.Errorf("%d certificates are listed", n)
	}
	if done, err := a.Revoke("web-1"); err != nil || done.Certificates != maxOfName {
		t.Errorf("%+v, %v", done, err)
	}
	c.advance(-24 * time.Hour) // the clock was set back
	fresh, _ := joined(t, a, "web-1")
	for range 2 {
		for i, cert := range stolen {
			if err := a.Refuses(peer(cert)); err == nil || !strings.Contains(err.Error(), "was revoked") {
				t.Errorf("certificate %d: %v", i, err)
			}
		}
		for _, cert := range []*x509.Certificate{fresh, other} {
			if err := a.Refuses(peer(cert)); err != nil {
				t.Error(err)
			}
		}
		c.advance(10 * 365 * 24 * time.Hour) // and ten years ahead, and back
		if err := a.Upkeep(); err != nil {
			t.Fatal(err)
		}
		c.advance(-10 * 365 * 24 * time.Hour)
		a = reopen(t, a.dir, c)
	}
	if _, err := a.Revoke("web-9"); err == nil || !strings.Contains(err.Error(), `no certificate was made for "web-9"`) {
		t.Errorf("a name without certificates: %v", err)
	}
	stranger := certs.Peer{Name: "web-1", Serial: big.NewInt(1), Authority: "another"}
	if err := a.Refuses(stranger); err != nil {
		t.Errorf("a certificate that another authority made: %v", err)
	}
}

// TestRenew: a host renews its own certificate, and no other's.
func TestRenew(t *testing.T) {
	a, c := create(t)
	cert, _ := joined(t, a, "web-1")
	other, _ := joined(t, a, "web-2")
	k := key(t)
	r := request(t, join.Renew, join.Secret{}, "web-1", k)
	answer, _ := a.Sign(r, cert)
	if answer.Certificate != nil || answer.Wait != renewEvery {
		t.Errorf("at once: %+v", answer.Refused)
	}
	c.advance(HostValid / 2)
	refuses(t, a, r, other, `the certificate is that of "web-2", and cannot be renewed for "web-1"`)
	refuses(t, a, r, nil, "a host must show its present certificate")
	foreign, _ := create(t)
	strange, _ := joined(t, foreign, "web-1")
	refuses(t, a, r, strange, "a host must show its present certificate, made by this collector")
	answer, outcome := a.Sign(r, cert)
	if outcome != Renewed {
		t.Fatalf("%s, %q", outcome, answer.Reason)
	}
	if i, err := answer.Check(k, "web-1", c.now()); err != nil || !i.Leaf.NotAfter.Equal(c.now().Add(HostValid)) {
		t.Errorf("%v", err)
	}
	c.advance(-time.Hour) // the clock was set back: this must not stop renewals
	if _, outcome := a.Sign(r, cert); outcome != Renewed {
		t.Error(outcome)
	}
}

// TestServerRenews: the collector's certificate is renewed when two thirds of its time are over,
// and no earlier.
func TestServerRenews(t *testing.T) {
	a, c := create(t)
	first := a.List().Server
	c.advance(first.Renews.Sub(c.now()) - time.Second)
	if err := a.Upkeep(); err != nil || a.List().Server.Expires != first.Expires {
		t.Errorf("before its time: %v, %+v", err, a.List().Server)
	}
	c.advance(2 * time.Second)
	if err := a.Upkeep(); err != nil || !a.List().Server.Expires.After(first.Expires) {
		t.Errorf("after: %v, %+v", err, a.List().Server)
	}
	again := reopen(t, a.dir, c)
	if got := again.List().Server; got.Expires != a.List().Server.Expires {
		t.Errorf("after a restart: %+v", got)
	}
	c.advance(10 * 365 * 24 * time.Hour) // nothing outlives the authority
	if err := a.Upkeep(); err != nil || a.List().Server.Expires.After(a.keys.cert.NotAfter) {
		t.Errorf("%v, %+v", err, a.List().Server)
	}
}

// TestRestored: what was deleted while the collector runs is written again.
func TestRestored(t *testing.T) {
	a, c := create(t)
	cert, _ := joined(t, a, "web-1")
	if _, err := a.Revoke("web-1"); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(a.dir); err != nil {
		t.Fatal(err)
	}
	if err := a.Upkeep(); err != nil {
		t.Fatal(err)
	}
	if again := reopen(t, a.dir, c); again.Refuses(peer(cert)) == nil || len(again.List().Hosts) != 1 {
		t.Error("revocations are lost")
	}
}
