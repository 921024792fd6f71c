package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fanin/internal/certs"
	"fanin/internal/daemon"
	"fanin/internal/disk"
	"fanin/internal/join"
	"fanin/internal/pki"
)

// authority is a collector that makes certificates, and nothing else.
type authority struct {
	*pki.Authority
	address string
	lose    atomic.Int32 // so many answers are lost
	asked   atomic.Int32 // requests
	config  atomic.Pointer[tls.Config]
	ahead   atomic.Int64 // how far its clock is ahead of this machine's
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := new(authority)
	dir := filepath.Join(t.TempDir(), "pki")
	if err := pki.Create(new(disk.Disk), dir, []string{"127.0.0.1"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	var err error
	if a.Authority, err = pki.Open(new(disk.Disk), dir, func() time.Time { return time.Now().Add(time.Duration(a.ahead.Load())) }); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a.address = ln.Addr().String()
	t.Cleanup(func() { ln.Close() })
	a.read(t)
	go func() { // ends with ln
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			a.serve(nc)
		}
	}()
	return a
}

// read reads the files of the listener.
func (a *authority) read(t *testing.T) {
	t.Helper()
	paths := a.Paths()
	config, err := certs.Files{Cert: paths.Server, Key: paths.Server, CA: paths.CA, Joins: join.Protocol}.Server()
	if err != nil {
		t.Fatal(err)
	}
	a.config.Store(config)
}

// serve answers one request.
func (a *authority) serve(raw net.Conn) {
	defer raw.Close()
	nc := tls.Server(raw, a.config.Load())
	r, err := join.ReadRequest(nc)
	if err != nil {
		return
	}
	a.asked.Add(1)
	var answer *join.Answer
	if chains := nc.ConnectionState().VerifiedChains; len(chains) > 0 {
		answer, _ = a.Sign(r, chains[0][0])
	} else {
		answer, _ = a.Sign(r, nil)
	}
	if a.lose.Add(-1) < 0 {
		nc.Write(answer.Append(nil))
		nc.CloseWrite()
	}
}

func (a *authority) invite(t *testing.T, name string) *join.Token {
	t.Helper()
	token, _, err := a.Invite(pki.Invitation{Name: name, Address: a.address})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// newJob joins below a directory, as the user of the test.
func newJob(dir string) *joinJob {
	u, err := user.Current()
	if err != nil {
		panic(err)
	}
	return &joinJob{user: u.Username, config: filepath.Join(dir, "etc", "agent.toml"), state: filepath.Join(dir, "state"), now: time.Now, out: io.Discard}
}

// wantJoined wants an agent with the configuration of a job to have what it needs.
func wantJoined(t *testing.T, j *joinJob, name string) *settings {
	t.Helper()
	s, err := (&options{config: j.config}).load(nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.Agent.ID != name || s.to.Scheme != "tls" {
		t.Errorf("the agent is %q and sends to %s", s.Agent.ID, s.to)
	}
	if err := s.Agent.TLS.Files(nil).CheckClient(time.Now(), name); err != nil {
		t.Error(err)
	}
	for _, path := range []string{s.Agent.TLS.Cert, s.Agent.TLS.CA} {
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", fi, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(j.state, "tls", "joining.key")); err == nil {
		t.Error("the key of the attempt is left")
	}
	return s
}

// TestJoin: a token makes an agent that is ready to start, and can be used again on the same host.
func TestJoin(t *testing.T) {
	a, j := newAuthority(t), newJob(t.TempDir())
	token := a.invite(t, "web-1")
	if err := j.run(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	wantJoined(t, j, "web-1")
	if err := j.run(t.Context(), token); err != nil {
		t.Errorf("the second time: %v", err)
	}
	if n := a.asked.Load(); n != 1 {
		t.Errorf("%d requests were sent", n)
	}
	if err := newJob(t.TempDir()).run(t.Context(), token); err == nil || !strings.Contains(err.Error(), "used already, with another key") {
		t.Errorf("on another host: %v", err)
	}
	if err := j.run(t.Context(), a.invite(t, "web-1")); err != nil {
		t.Errorf("with a new invitation: %v", err)
	}
	wantJoined(t, j, "web-1")
}

var errKilled = errors.New("killed")

// TestJoinKilled: an attempt that ends after any step goes on with the same token where it was.
func TestJoinKilled(t *testing.T) {
	a := newAuthority(t)
	for steps := 0; ; steps++ {
		dir := t.TempDir()
		token := a.invite(t, "web-1")
		killed, left := newJob(dir), steps
		killed.disk.Fault = func(op disk.Op, path string) (int, error) {
			if left--; left < 0 {
				return 0, errKilled
			}
			return 0, nil
		}
		err := killed.run(t.Context(), token)
		if err != nil && !errors.Is(err, errKilled) {
			t.Fatalf("after %d steps: %v", steps, err)
		}
		again := newJob(dir)
		if err := again.run(t.Context(), token); err != nil {
			t.Fatalf("killed after %d steps, and then: %v", steps, err)
		}
		wantJoined(t, again, "web-1")
		if err == nil {
			if steps < 15 {
				t.Errorf("it takes only %d steps", steps)
			}
			return
		}
	}
}

// TestJoinLostAnswer: a lost answer is asked for again, with the same key.
func TestJoinLostAnswer(t *testing.T) {
	a, j := newAuthority(t), newJob(t.TempDir())
	token := a.invite(t, "web-1")
	a.lose.Store(1)
	if err := j.run(t.Context(), token); err == nil || !strings.Contains(err.Error(), "read the collector's answer") {
		t.Errorf("the answer was lost: %v", err)
	}
	if err := j.run(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	wantJoined(t, j, "web-1")
}

// TestJoinClocks: a clock that is ten years off, on either side, is said, and costs no token.
func TestJoinClocks(t *testing.T) {
	a := newAuthority(t)
	const decade = 10 * 365 * 24 * time.Hour
	for _, off := range []time.Duration{-decade, decade - 30*24*time.Hour} {
		j := newJob(t.TempDir())
		token := a.invite(t, "web-1")
		j.now = func() time.Time { return time.Now().Add(off) }
		before := a.asked.Load()
		err := j.run(t.Context(), token)
		if err == nil || !strings.Contains(err.Error(), "the clocks differ") || !strings.Contains(err.Error(), j.now().UTC().Format("2006-01-02")) {
			t.Errorf("this clock is off by %s: %v", off, err)
		}
		if n := a.asked.Load() - before; n != 0 {
			t.Errorf("%d requests were sent", n)
		}
		j.now = time.Now
		if err := j.run(t.Context(), token); err != nil {
			t.Errorf("with the right clock: %v", err)
		}
		wantJoined(t, j, "web-1")
	}
	for _, off := range []time.Duration{-decade, 9 * 365 * 24 * time.Hour} { // the collector's, which was set after its start
		j := newJob(t.TempDir())
		a.ahead.Store(int64(off))
		token := a.invite(t, "web-1")
		if err := j.run(t.Context(), token); err == nil || !strings.Contains(err.Error(), "the clocks differ") {
			t.Errorf("the collector's clock is off by %s: %v", off, err)
		}
		if err := j.run(t.Context(), token); err == nil { // the request may be repeated
			t.Error("it joins with a certificate that is not valid")
		}
		a.ahead.Store(0)
	}
}

// TestJoinUnreachable: what to do when the collector is not there, or is none.
func TestJoinUnreachable(t *testing.T) {
	a := newAuthority(t)
	token := a.invite(t, "web-1")
	token.Address = nowhere(t)
	if err := newJob(t.TempDir()).run(t.Context(), token); err == nil || daemon.Code(err) != daemon.ExitUnreachable || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("nowhere: %v", err)
	}
	other := newAuthority(t)
	token.Address = other.address
	if err := newJob(t.TempDir()).run(t.Context(), token); err == nil || !strings.Contains(err.Error(), "another authority") || other.asked.Load() != 0 {
		t.Errorf("another collector: %v", err)
	}
}

// TestJoinConfiguration: a configuration with settings of its own is kept; the one that was installed
// gets the collector's address, and keeps the rest.
func TestJoinConfiguration(t *testing.T) {
	a := newAuthority(t)
	installed, err := os.ReadFile("../../systemd/agent.toml")
	if err != nil {
		t.Fatal(err)
	}
	j := newJob(t.TempDir())
	put := func(text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(j.config), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, j.config, text)
	}
	put(string(installed))
	if err := j.run(t.Context(), a.invite(t, "web-1")); err != nil {
		t.Fatal(err)
	}
	wantJoined(t, j, "web-1")
	got, _ := os.ReadFile(j.config)
	for line := range strings.Lines(string(installed)) {
		if !strings.HasPrefix(line, "to = ") && !strings.Contains(string(got), line) {
			t.Errorf("the line %q is gone", line)
		}
	}
	for _, own := range []string{"[agent]\nto = [\"tcp://192.0.2.1:6789\"]\n[[agent.file]]\npaths = [\"/var/log/app.log\"]\n", string(installed) + "\n# mine\n[agent.tls]\nca = \"x\"\n", "this is no TOML"} {
		j = newJob(t.TempDir())
		if strings.Contains(own, "# mine") {
			own = strings.Replace(own, "[agent]\n", "[agent]\nid = \"mine\"\n", 1)
		}
		put(own)
		err := j.run(t.Context(), a.invite(t, "web-1"))
		if err == nil || daemon.Code(err) != daemon.ExitConfig || !strings.Contains(err.Error(), "tls = {ca = ") {
			t.Errorf("with a configuration: %v", err)
		}
		if got, _ := os.ReadFile(j.config); string(got) != own {
			t.Errorf("it became %q", got)
		}
	}
}

// TestJoinToken: the token is an argument, or comes from standard input or a file; and the name is the
// token's, or the host's own with a token for many.
func TestJoinToken(t *testing.T) {
	text := (&join.Token{Address: "collector.example:6793", Name: "web-1"}).String()
	file := write(t, filepath.Join(t.TempDir(), "token"), text+"\n")
	for _, c := range []struct {
		args     []string
		file, in string
		code     int
		name     string
	}{
		{args: []string{text}, name: "web-1"}, {args: []string{"-"}, in: text + "\n", name: "web-1"}, {file: file, name: "web-1"},
		{code: daemon.ExitUsage}, {args: []string{text}, file: file, code: daemon.ExitUsage}, {args: []string{"x"}, code: daemon.ExitUsage}, {args: []string{"-"}, code: daemon.ExitUsage},
	} {
		j := &joinJob{tokenFile: c.file}
		token, err := j.token(strings.NewReader(c.in), c.args)
		if err != nil || c.code != 0 {
			if daemon.Code(err) != c.code {
				t.Errorf("%q: %v", c.args, err)
			}
			continue
		}
		if name, err := j.name(token); name != c.name || err != nil {
			t.Errorf("the name is %q, %v", name, err)
		}
	}
	many := &join.Token{Address: "c:1"}
	if name, err := (&joinJob{id: "k8s-7"}).name(many); name != "k8s-7" || err != nil {
		t.Errorf("%q, %v", name, err)
	}
	if _, err := (&joinJob{id: "web-2"}).name(&join.Token{Name: "web-1"}); daemon.Code(err) != daemon.ExitUsage {
		t.Errorf("with another id: %v", err)
	}
}

// renewing is the renewer of an agent that has joined.
func renewing(t *testing.T, a *authority) (*renewer, *joinJob) {
	t.Helper()
	j := newJob(t.TempDir())
	if err := j.run(t.Context(), a.invite(t, "web-1")); err != nil {
		t.Fatal(err)
	}
	r, err := newRenewer(wantJoined(t, j, "web-1"), slog.New(slog.DiscardHandler))
	if err != nil || r == nil {
		t.Fatalf("%v, %v", r, err)
	}
	return r, j
}

// TestRenews: an agent renews its certificate when two thirds of its time are over, for a new key; it
// keeps the old one while that fails.
func TestRenews(t *testing.T) {
	a := newAuthority(t)
	r, _ := renewing(t, a)
	first, err := os.ReadFile(r.identity.path())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.step(t.Context(), false); err != nil || a.asked.Load() != 1 {
		t.Errorf("it renews at once: %v", err)
	}
	leaf, err := r.identity.certificate()
	if err != nil {
		t.Fatal(err)
	}
	ahead := leaf.NotAfter.Sub(leaf.NotBefore) * 7 / 10
	a.ahead.Store(int64(ahead))
	r.now = func() time.Time { return time.Now().Add(ahead) }
	a.lose.Store(1)
	if err := r.step(t.Context(), false); err == nil {
		t.Error("an answer that was lost is none")
	}
	if now, _ := os.ReadFile(r.identity.path()); string(now) != string(first) {
		t.Error("a failure changes the certificate")
	}
	a.ahead.Add(int64(2 * time.Minute))
	if err := r.step(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if now, _ := os.ReadFile(r.identity.path()); string(now) == string(first) {
		t.Error("it was not renewed")
	}
	after, err := r.identity.certificate()
	if err != nil || !after.NotAfter.After(leaf.NotAfter) || after.Subject.CommonName != "web-1" || r.renewals.Load() != 1 || r.failures.Load() != 1 {
		t.Errorf("%v, %v", after, err)
	}
	if n := len(r.metrics()); n != 3 || (*renewer)(nil).metrics() != nil {
		t.Errorf("%d metrics", n)
	}
}

// TestLearnsRotation: an agent that trusts only the replaced authority still connects, notices that there
// is another one, and gets a certificate of it; then it does not ask again.
func TestLearnsRotation(t *testing.T) {
	a := newAuthority(t)
	r, _ := renewing(t, a)
	if _, err := a.Rotate(pki.HostValid); err != nil {
		t.Fatal(err)
	}
	a.read(t)
	a.ahead.Store(int64(2 * time.Minute)) // so soon it was renewed a moment ago
	dial := func() {
		t.Helper()
		config := r.watch(r.client)()
		config.ServerName = "127.0.0.1"
		nc, err := tls.Dial("tcp", a.address, config)
		if err != nil {
			t.Fatal(err)
		}
		nc.Close()
	}
	dial()
	if len(r.rotated) != 1 {
		t.Fatal("it does not notice the other authority")
	}
	<-r.rotated
	if err := r.step(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	after, err := r.identity.certificate()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := after.Issuer.CommonName, "fanin authority "+a.List().Authorities[0].ID; got != want {
		t.Errorf("the certificate is of %q, and the authority is %q", got, want)
	}
	files := certs.Files{CA: r.identity.ca(), Cert: r.identity.path(), Key: r.identity.path()}
	if r.client, err = files.Client(); err != nil { // as after a second
		t.Fatal(err)
	}
	dial()
	if len(r.rotated) != 0 {
		t.Error("it asks for another certificate again")
	}
}

// TestRenewerOnlyOfJoin: certificates that others made are left alone.
func TestRenewerOnlyOfJoin(t *testing.T) {
	a := newAuthority(t)
	j := newJob(t.TempDir())
	if err := j.run(t.Context(), a.invite(t, "web-1")); err != nil {
		t.Fatal(err)
	}
	s := wantJoined(t, j, "web-1")
	s.Agent.TLS.Cert = filepath.Join(t.TempDir(), "mine.pem")
	if r, err := newRenewer(s, slog.New(slog.DiscardHandler)); r != nil || err != nil {
		t.Errorf("%v, %v", r, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, _ := renewing(t, a)
	r.run(ctx) // it ends
}
