package collector

import (
	"bufio"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanin/ingest/ingesttest"
	"fanin/internal/access"
	"fanin/internal/disk"
	"fanin/internal/join"
	"fanin/internal/pki"
	"fanin/internal/waittest"
	"fanin/internal/wire"
)

// fleetCollector runs a collector with an authority, whose listeners all have its certificate.
func fleetCollector(t *testing.T) *server {
	t.Helper()
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	if err := os.Mkdir(state, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := pki.Create(new(disk.Disk), filepath.Join(state, "pki"), []string{"127.0.0.1"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	files := pki.PathsIn(filepath.Join(state, "pki"))
	var text strings.Builder
	fmt.Fprintf(&text, "[collector]\nstate = %q\nlog_level = \"error\"\n[collector.log]\nsync = \"none\"\npath = %q\n", state, filepath.Join(dir, "all.log"))
	for _, table := range []string{"[[collector.tcp]]", "[collector.http]", "[collector.work]"} {
		fmt.Fprintf(&text, "%s\nlisten = \"127.0.0.1:0\"\ntls = {cert = %q, key = %[2]q, client_ca = %q}\n", table, files.Server, files.CA)
	}
	path := filepath.Join(dir, "collector.toml")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	o := &options{config: path}
	s, err := o.load()
	if err != nil {
		t.Fatal(err)
	}
	return serving(t, s, o.load)
}

// invite asks for a token over the control socket.
func (c *server) invite(t *testing.T, name string) *join.Token {
	t.Helper()
	var made invited
	if err := json.Unmarshal([]byte(c.asked(t, "POST", "/pki/invite?"+url.Values{"name": {name}}.Encode())), &made); err != nil {
		t.Fatal(err)
	}
	token, err := join.ParseToken(made.Token)
	if err != nil {
		t.Fatal(err)
	}
	return &token
}

// askToJoin asks for a certificate over the network.
func askToJoin(t *testing.T, token *join.Token, name string, key crypto.Signer) (*join.Answer, error) {
	t.Helper()
	r, err := join.NewRequest(join.Join, token.Secret, name, key)
	if err != nil {
		t.Fatal(err)
	}
	return join.Ask(t.Context(), token.Address, join.Pinned(token.Authority, "127.0.0.1", time.Now), r)
}

// joined is how a host dials that has joined.
func (c *server) joined(t *testing.T, name string) *tls.Config {
	t.Helper()
	key, err := join.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	answer, err := askToJoin(t, c.invite(t, name), name, key)
	if err != nil {
		t.Fatal(err)
	}
	issued, err := answer.Check(key, name, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	for _, a := range issued.Authorities {
		roots.AddCert(a)
	}
	return &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", Certificates: []tls.Certificate{{Certificate: [][]byte{issued.Leaf.Raw}, PrivateKey: key}}}
}

// requestsWith is how many requests for certificates had an outcome.
func (c *server) requestsWith(name string) float64 {
	all, err := c.metrics.Gather()
	if err != nil {
		return -1
	}
	for _, f := range all {
		for _, m := range f.Metric {
			if f.GetName() == "fanin_certificate_requests_total" && m.Label[0].GetValue() == name {
				return m.Counter.GetValue()
			}
		}
	}
	return -1
}

// TestJoinOverTheNetwork: with a token a host gets a certificate over the collector's own port,
// and its lines come through; the host of a plain line is the certificate's name.
func TestJoinOverTheNetwork(t *testing.T) {
	c := fleetCollector(t)
	nc, err := tls.Dial("tcp", c.address(t, "tls"), c.joined(t, "web-1"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(nc, "a line")
	nc.Close()
	waittest.UntilEqual(t, "lines", 1, func() uint64 { return c.peerLines(t) })
	if b, err := os.ReadFile(c.sink.Status().Path); err != nil || !strings.Contains(string(b), " web-1 tcp: a line") {
		t.Errorf("%q, %v", b, err)
	}
	if got := c.requestsWith("joined"); got != 1 {
		t.Errorf("%v hosts are counted", got)
	}
	if got := c.asked(t, "GET", "/pki/list"); !strings.Contains(got, `"name":"web-1","state":"valid"`) {
		t.Errorf("the list is %s", got)
	}
}

// TestJoinRefused: a token that another authority made sends nothing; used, and another's name.
func TestJoinRefused(t *testing.T) {
	c := fleetCollector(t)
	token := c.invite(t, "web-1")
	key, err := join.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	wrong := *token
	wrong.Authority[0] ^= 1
	if _, err := askToJoin(t, &wrong, "web-1", key); err == nil || !strings.Contains(err.Error(), "another authority") {
		t.Errorf("with a wrong authority: %v", err)
	}
	for _, o := range []string{"joined", "refused", "malformed"} {
		if got := c.requestsWith(o); got != 0 {
			t.Errorf("nothing may have been sent, and %v requests were %s", got, o)
		}
	}
	var refused *join.Refused
	if _, err := askToJoin(t, token, "web-2", key); !errors.As(err, &refused) || !strings.Contains(err.Error(), `is for "web-1"`) {
		t.Errorf("for another name: %v", err)
	}
	for range 2 { // the answer was lost
		if _, err := askToJoin(t, token, "web-1", key); err != nil {
			t.Errorf("with the same key: %v", err)
		}
	}
	other, err := join.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := askToJoin(t, token, "web-1", other); !errors.As(err, &refused) || !strings.Contains(err.Error(), "used already") {
		t.Errorf("with another key: %v", err)
	}
}

// TestJoinDoesNothingElse: a connection without a certificate can ask for one, and nothing else.
func TestJoinDoesNothingElse(t *testing.T) {
	c := fleetCollector(t)
	token := c.invite(t, "web-1")
	for _, text := range []string{"a line\n", "<13>a message\n", "FANIN", "\x00\x10" + strings.Repeat("x", 16), "\xff\xff"} {
		nc, err := tls.Dial("tcp", c.address(t, "tls"), join.Pinned(token.Authority, "127.0.0.1", time.Now))
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(nc, text)
		nc.CloseWrite()
		a, err := join.ReadAnswer(nc)
		if err != nil || !strings.Contains(a.Reason, "cannot be read") {
			t.Errorf("%q is answered with %+v, %v", text, a, err)
		}
		nc.Close()
	}
	for _, protocols := range [][]string{nil, {"h2"}, {"fanin-join-2"}} {
		config := join.Pinned(token.Authority, "127.0.0.1", time.Now)
		config.NextProtos = protocols
		wantRefused(t, c.address(t, "tls"), config)
	}
	for _, kind := range []string{"work"} { // other listeners give none, also with the protocol
		wantRefused(t, c.address(t, kind), join.Pinned(token.Authority, "127.0.0.1", time.Now))
	}
	if n := c.peerLines(t); n != 0 {
		t.Errorf("%d lines came in", n)
	}
}

// wantRefused wants a listener to end a connection.
func wantRefused(t *testing.T, address string, config *tls.Config) {
	t.Helper()
	nc, err := tls.Dial("tcp", address, config)
	if err != nil {
		return
	}
	defer nc.Close()
	fmt.Fprintln(nc, "a line")
	nc.SetReadDeadline(time.Now().Add(30 * time.Second))
	if _, err := nc.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s keeps a peer that it must refuse", address)
	}
}

// ended reads until a connection ends.
func ended(in io.Reader) <-chan error {
	done := make(chan error, 1)
	go func() { // ends with the connection
		_, err := io.Copy(io.Discard, in)
		done <- err
	}()
	return done
}

// TestRevokeCloses: a revocation closes the open connections of a host, on every listener, and
// only its; a stolen certificate does not connect any more; a new invitation works.
func TestRevokeCloses(t *testing.T) {
	c := fleetCollector(t)
	stolen, other := c.joined(t, "web-1"), c.joined(t, "web-2")
	_, web, _ := net.SplitHostPort(httpAddress(t, c))
	addresses := map[string]string{"tcp": c.address(t, "tls"), "work": c.address(t, "work"), "http": "127.0.0.1:" + web}
	open := make(map[string]<-chan error)
	for kind, address := range addresses {
		nc := opened(t, address, kind, stolen)
		if kind == "tcp" {
			fmt.Fprintln(nc, "web-1 is there")
			waittest.UntilEqual(t, "lines", 1, func() uint64 { return c.peerLines(t) })
		}
		open[kind] = ended(nc)
	}
	addresses["agent"] = addresses["tcp"]
	agent := opened(t, addresses["agent"], "tcp", stolen)
	agent.Write(wire.AppendHello(nil, wire.Hello{Version: wire.Version, Agent: "web-1", Host: "web-1",
		Instance: ingesttest.InstanceA, Run: 1}))
	ingesttest.NewClient(t, agent).Want(wire.KindWelcome)
	open["agent"] = ended(agent)
	stays := opened(t, addresses["tcp"], "tcp", other)
	fmt.Fprintln(stays, "web-2 is there")
	waittest.UntilEqual(t, "lines", 2, func() uint64 { return c.peerLines(t) })
	var done revoked // the handshake of work may still go on: then it fails
	if err := json.Unmarshal([]byte(c.asked(t, "POST", "/pki/revoke?name=web-1")), &done); err != nil || done.Certificates != 1 || done.Connections < 3 {
		t.Errorf("revoke answers %+v, %v", done, err)
	}
	for kind, done := range open {
		if err := <-done; errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a connection to %s stays open", kind)
		}
		wantRefused(t, addresses[kind], stolen)
	}
	stolen.NextProtos = []string{join.Protocol} // it cannot renew itself either
	wantRefused(t, addresses["tcp"], stolen)
	fmt.Fprintln(stays, "web-2 is still there")
	waittest.UntilEqual(t, "lines", 3, func() uint64 { return c.peerLines(t) })
	fresh := opened(t, addresses["tcp"], "tcp", c.joined(t, "web-1"))
	fmt.Fprintln(fresh, "web-1 is back")
	waittest.UntilEqual(t, "lines", 4, func() uint64 { return c.peerLines(t) })
	if got := c.asked(t, "POST", "/pki/revoke?name=web-7"); !strings.Contains(got, `no certificate was made for "web-7"`) {
		t.Errorf("%s", got)
	}
}

// TestRotateClosesOnAFullDisk: a rotation that cannot write all files is in force all the same, and
// connections with what it ended are closed.
func TestRotateClosesOnAFullDisk(t *testing.T) {
	c := fleetCollector(t)
	nc := opened(t, c.address(t, "tls"), "tcp", c.joined(t, "web-1"))
	fmt.Fprintln(nc, "web-1 is there")
	waittest.UntilEqual(t, "lines", 1, func() uint64 { return c.peerLines(t) })
	done := ended(nc)
	if err := os.Mkdir(filepath.Join(c.settings.pkiDir(), ".ca.crt.new"), 0o700); err != nil { // it is in the way
		t.Fatal(err)
	}
	if got := c.asked(t, "POST", "/pki/rotate?overlap=0s"); !strings.Contains(got, "error: ") {
		t.Fatal(got)
	}
	if err := <-done; errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection stays open")
	}
}

// opened is a connection that the listener has admitted.
func opened(t *testing.T, address, kind string, config *tls.Config) *tls.Conn {
	t.Helper()
	nc, err := tls.Dial("tcp", address, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetReadDeadline(time.Now().Add(30 * time.Second)) // an end is waited for, and not for ever
	if kind == "http" {
		fmt.Fprintf(nc, "GET /tail HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%v, %v", resp, err)
		}
	}
	return nc
}

// httpAddress is where the collector answers HTTP.
func httpAddress(t *testing.T, c *server) string {
	t.Helper()
	return c.address(t, "http")
}

// TestPKINotOverHTTP: the authority answers on the control socket only.
func TestPKINotOverHTTP(t *testing.T) {
	c := fleetCollector(t)
	for _, x := range c.listeners.serving() {
		if h, ok := x.table.(*httpTable); ok {
			h.Control = true
		}
	}
	if err := c.access.Use([]access.Rule{{Role: access.All, Networks: access.Local()[0].Networks}}); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: c.joined(t, "ops-1")}}
	defer client.CloseIdleConnections()
	for _, r := range c.pkiRequests() {
		method, path, _ := strings.Cut(r.pattern(), " ")
		q, err := http.NewRequestWithContext(t.Context(), method, "https://"+httpAddress(t, c)+path+"?name=web-1", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s over HTTP: %s", r.pattern(), resp.Status)
		}
	}
	for _, r := range c.messageRequests() {
		if strings.HasPrefix(r.name, "pki/") {
			t.Errorf("messages may ask %s", r.name)
		}
	}
}

// TestJoinLimits: requests are bounded at a time and by their failures, for each address; what is
// remembered is bounded, too.
func TestJoinLimits(t *testing.T) {
	var l joinLimits
	now := time.Now()
	one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i := range maxJoinsPerIP {
		if wait := l.begin(one, now); wait != 0 {
			t.Fatalf("request %d waits %s", i, wait)
		}
	}
	if l.begin(one, now) == 0 || l.begin(two, now) != 0 {
		t.Error("one address keeps others out, or is not bounded")
	}
	for range maxJoinsPerIP {
		l.end(one, false, now)
	}
	l.end(two, false, now)
	for i := range maxJoinFailures {
		if wait := l.begin(one, now); wait != 0 {
			t.Fatalf("attempt %d waits %s", i, wait)
		}
		l.end(one, true, now)
	}
	wait := l.begin(one, now)
	if wait <= 0 || wait > joinFailureEvery {
		t.Errorf("after %d failures it waits %s", maxJoinFailures, wait)
	}
	if l.begin(one, now.Add(wait)) != 0 {
		t.Error("it waits for longer than it was told")
	}
	l.end(one, false, now)
	for i := range 2 * maxJoinPeers {
		peer := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		if l.begin(peer, now) == 0 {
			l.end(peer, true, now)
		}
	}
	if len(l.of) > maxJoinPeers || l.open != 0 {
		t.Errorf("%d addresses are remembered, and %d requests are open", len(l.of), l.open)
	}
	if l.begin(two, now.Add(time.Hour)) != 0 {
		t.Error("when failures are forgotten there is no room")
	}
}

// TestNoAuthority: without an authority the requests say what to run.
func TestNoAuthority(t *testing.T) {
	c := new(server)
	for _, r := range c.pkiRequests() {
		if _, err := r.answer(context.Background(), nil); !errors.Is(err, errNoAuthority) {
			t.Errorf("%s: %v", r.name, err)
		}
	}
}
