package collector

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"fanin/internal/access"
	"fanin/internal/certs/certstest"
	"fanin/internal/daemon"
)

// checked is what `check` says of a configuration, without its environment.
func checked(t *testing.T, text string) error {
	t.Helper()
	s, err := loadConfig(t, "[collector.log]\npath = \"x\"\n"+text)
	if err == nil {
		err = s.checkMisgrants()
	}
	return err
}

// TestAccessTables: each mistake in the tables is refused, and so is, by check alone, what no peer
// could use: what a configuration of an earlier release expects, with the remedy.
func TestAccessTables(t *testing.T) {
	const tlsOnly, mutual = "tls = {cert = \"c\", key = \"k\"}\n", "tls = {cert = \"c\", key = \"k\", client_ca = \"a\"}\n"
	public, local := "[collector.http]\nlisten = \"0.0.0.0:6790\"\n", "[collector.http]\nlisten = \"127.0.0.1:6790\"\n"
	work := "[collector.work]\nlisten = \"[::]:6791\"\n"
	grant := func(role, key string) string { return fmt.Sprintf("[[collector.access]]\nrole = %q\n%s\n", role, key) }
	for _, row := range []struct{ text, want string }{
		{"", ""}, {local, ""}, {grant("read", "tokens_file = \"t\""), ""}, {local + grant("read", "allow = [\"192.0.2.7\"]"), ""},
		{grant("reader", "tokens_file = \"t\""), `role is "reader"; want one of`}, {grant("", "tokens_file = \"t\""), "want one of"},
		{grant("read", ""), "grants the role \"read\" to nothing"}, {grant("read", "names = []"), "would allow no certificate"},
		{grant("read", "allow = [\"x\"]"), "is no network"}, {grant("read", "allow = []"), "allow is empty"},
		{grant("admin", "allow = [\"127.0.0.1\"]"), "use names or tokens_file"},
		{local + grant("read", "names = [\"ops\"]"), "names has no effect"}, {local + mutual + grant("read", "names = [\"a[\"]"), "invalid pattern"},
		{"[collector.access]\nrole = \"read\"\n", "there can be several"}, {grant("read", "tokens = \"t\""), "unknown key"},
		{public + mutual + grant("read", "names = [\"ops-*\"]"), ""}, {public + tlsOnly + grant("admin", "tokens_file = \"t\""), ""},
		{public + "insecure = true\n" + grant("read", "allow = [\"0.0.0.0/0\"]"), ""}, {work + mutual + grant("work", "names = [\"*\"]"), ""},
		{public + mutual + "client_names = [\"ops-*\", \"p\"]\n", `role = "read" and names = ["ops-*", "p"]`}, {public + mutual, `names = ["*"]`},
		{public + tlsOnly, "tokens_file"}, {public + "insecure = true\nallow = [\"192.0.2.0/24\"]\n", `allow = ["192.0.2.0/24"]`},
		{public + "insecure = true\n" + grant("read", "tokens_file = \"t\""), "peers on other machines are refused"},
		{public + "insecure = true\n" + grant("read", "allow = [\"127.0.0.1\"]"), "peers on other machines are refused"},
		{public + mutual + grant("work", "names = [\"*\"]"), "peers on other machines are refused"}, {work + mutual, `role = "work" and names`},
		{local + "control = true\n", "control = true has no effect"}, {local + "control = true\n" + grant("read", "tokens_file = \"t\""), "control = true has no effect"},
		{local + "control = true\n" + grant("admin", "tokens_file = \"t\""), ""},
	} {
		err := checked(t, row.text)
		if (err == nil) != (row.want == "") || err != nil && (!strings.Contains(err.Error(), row.want) || daemon.Code(err) != daemon.ExitConfig) {
			t.Errorf("%s: %v, want %q", row.text, err, row.want)
		}
	}
	s, err := loadConfig(t, "[collector.log]\npath = \"x\"\n"+public+"insecure = true\ncontrol = true\n")
	if err != nil {
		t.Fatalf("the collector does not start with what check refuses: %v", err)
	}
	var said strings.Builder
	if _, err := s.newPolicy(slog.New(slog.NewTextHandler(&said, nil))); err != nil || strings.Count(said.String(), "level=WARN") != 2 {
		t.Errorf("%v; it warns %q", err, said.String())
	}
	missing := &settings{Collector: collectorTable{Access: []accessTable{{Role: "read", TokensFile: filepath.Join(t.TempDir(), "none")}}}}
	if _, err := missing.newPolicy(slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a missing tokens_file is accepted at the start")
	}
}

// TestHTTPSRoles: over TLS a certificate has the role of its name, client_names is a further limit,
// and the cookie of a session is for TLS alone.
func TestHTTPSRoles(t *testing.T) {
	ca := certstest.New(t)
	dir := t.TempDir()
	caFile, cert, key := ca.Files(dir, ca.Sign("collector"))
	c, _ := configured(t, fmt.Sprintf("[collector.http]\nlisten = \"127.0.0.1:0\"\ncontrol = true\nclient_names = [\"ops-*\", \"root\", \"web-*\"]\n"+
		"tls = {cert = %q, key = %q, client_ca = %q}\n[[collector.access]]\nrole = \"read\"\nnames = [\"ops-*\"]\ntokens_file = %q\n[[collector.access]]\nrole = \"admin\"\nnames = [\"root\", \"boss\"]\n",
		cert, key, caFile, tokensFile(t, "reader")))
	address := "https://" + c.openWeb().conns.Addr().String()
	client := func(name string) *http.Client {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool, ServerName: "127.0.0.1", Certificates: []tls.Certificate{ca.Sign(name)}}}
		t.Cleanup(tr.CloseIdleConnections)
		return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	for name, want := range map[string][2]int{"ops-1": {200, 401}, "root": {200, 200}, "web-1": {401, 401}, "boss": {403, 403}} {
		for i, method := range []string{"GET", "POST"} {
			r, _ := http.NewRequest(method, address+[]string{"/status", "/reopen"}[i], nil)
			resp, err := client(name).Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want[i] {
				t.Errorf("%s by %s: %d, want %d", method, name, resp.StatusCode, want[i])
			}
		}
	}
	resp, err := client("web-1").PostForm(address+"/login", url.Values{"token": {"reader"}})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if set := resp.Header.Get("Set-Cookie"); resp.StatusCode != 303 || !strings.HasPrefix(set, "__Host-fanin-") || !strings.Contains(set, "; Secure") || strings.Contains(set, "Domain") {
		t.Errorf("the login answers %d, %q", resp.StatusCode, set)
	}
}

// TestThousandPages: a thousand pages that are open with sessions of one token end with it, and
// leave nothing.
func TestThousandPages(t *testing.T) {
	path := tokensFile(t, "reader", "other")
	x := newTestWeb(t, new(httpTable))
	var err error
	if x.access, err = access.New([]access.Rule{{Role: access.Read, Tokens: path}}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	x.access.OpenKey(filepath.Join(t.TempDir(), "key"), slog.New(slog.DiscardHandler))
	const pages = 1000
	var begun, all sync.WaitGroup
	var answered atomic.Int64
	page := x.guard(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		answered.Add(1)
		begun.Done()
		<-r.Context().Done()
	}))
	c, err := x.access.Identify(access.Peer{Encrypted: true}, "reader")
	if err != nil {
		t.Fatal(err)
	}
	begun.Add(pages)
	for range pages {
		r := httptest.NewRequest("GET", "/tail", nil)
		r.Host, r.RemoteAddr = "127.0.0.1", "127.0.0.1:1"
		r.AddCookie(&http.Cookie{Name: x.cookie(r), Value: x.access.Begin(c)})
		all.Go(func() { page.ServeHTTP(httptest.NewRecorder(), r) }) // ends without the token
	}
	begun.Wait()
	x.access.Look()
	writeTokens(t, path, "other")
	x.access.Look()
	all.Wait()
	if n := answered.Load(); n != pages {
		t.Errorf("%d pages were answered", n)
	}
}

// TestCollectorURL: a command shows its token to the collector that it asks, over TLS or on this
// machine, and to no other.
func TestCollectorURL(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("a redirect is followed, with %q", r.Header) }))
	defer elsewhere.Close()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, elsewhere.URL, http.StatusFound)
			return
		}
		io.WriteString(w, "\""+r.Header.Get("Authorization")+"\"")
	}))
	defer s.Close()
	to, err := (&collectorURL{connect: s.URL, tokenFile: token}).target()
	if err != nil {
		t.Fatal(err)
	}
	var got string
	if err := to.ask(t.Context(), "GET", "/", &got); err != nil || got != "Bearer secret" {
		t.Errorf("it sends %q, %v", got, err)
	}
	if err := to.ask(t.Context(), "GET", "/away", nil); err == nil {
		t.Error("a redirect is an answer")
	}
	open := filepath.Join(t.TempDir(), "open")
	if err := os.WriteFile(open, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	for want, e := range map[string]collectorURL{
		"is not sent to collector.example without encryption: use https": {connect: "http://collector.example:6790", tokenFile: token},
		"is not sent to 192.0.2.1 without encryption":                    {connect: "http://192.0.2.1", tokenFile: token},
		"can be read by every user":                                      {connect: s.URL, tokenFile: open},
		"no such file":                                                   {connect: s.URL, tokenFile: open + ".none"},
		"want a URL":                                                     {connect: "collector:6790"},
	} {
		if _, err := e.target(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", e, err, want)
		}
	}
}

// TestTokenCommand: what it prints is a token and its line; with --add the line is in the file.
func TestTokenCommand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	run := func(args ...string) (string, error) {
		var out strings.Builder
		c := Command()
		c.SetArgs(append([]string{"token"}, args...))
		c.SetOut(&out)
		err := c.Execute()
		return out.String(), err
	}
	p := func(token string) string {
		t.Helper()
		x, err := access.New([]access.Rule{{Role: access.Read, Tokens: path}}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		c, err := x.Identify(access.Peer{}, token)
		if err != nil {
			t.Fatal(err)
		}
		return c.Name
	}
	out, err := run("ops")
	lines := strings.Split(out, "\n")
	if err != nil || len(lines) != 5 || os.WriteFile(path, []byte(lines[3]), 0o600) != nil || p(lines[1]) != "ops" {
		t.Errorf("it prints %q, %v", out, err)
	}
	added, err := run("web", "--add", path) // behind a line without its end
	if err != nil || p(strings.TrimSpace(added)) != "web" || p(lines[1]) != "ops" {
		t.Errorf("it prints %q, %v", added, err)
	}
	for want, args := range map[string][]string{"the name web is in line 2": {"web", "--add", path}, "cannot be the name": {"a b"}, "at most 1 arg": {"a", "b"}} {
		if _, err := run(args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}
