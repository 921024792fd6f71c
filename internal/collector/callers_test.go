package collector

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"fanin/internal/access"
	"fanin/internal/waittest"
	"fanin/sink/distribute/protocol"
	"fanin/sink/distribute/worker"
)

// tokensFile is a file of tokens; each name is its token, too.
func tokensFile(t *testing.T, names ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens")
	writeTokens(t, path, names...)
	return path
}

func writeTokens(t *testing.T, path string, names ...string) {
	t.Helper()
	text := ""
	for _, name := range names {
		text += (&access.Token{Name: name, Hash: access.HashOf(name)}).Line() + "\n"
	}
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
}

// granting is a configuration that grants each role to a token of its name, and to nothing else.
func granting(t *testing.T, control bool) (config string, files map[string]string) {
	t.Helper()
	files = make(map[string]string)
	for _, role := range []string{"read", "work", "admin"} {
		files[role] = tokensFile(t, role)
		config += fmt.Sprintf("[[collector.access]]\nrole = %q\ntokens_file = %q\n", role, files[role])
	}
	return config + fmt.Sprintf("[collector.work]\nlisten = \"127.0.0.1:0\"\n[collector.http]\nlisten = \"127.0.0.1:0\"\ncontrol = %v\n", control), files
}

// webURL is the address of the HTTP listener.
func (c *server) webURL() string { return "http://" + c.openWeb().conns.Addr().String() }

// openWeb is what guards the HTTP listener.
func (c *server) openWeb() *web {
	for _, x := range c.listeners.serving() {
		if x.kind == "http" {
			return x.metrics[0].(*web)
		}
	}
	return nil
}

// web sends a request over HTTP.
func (c *server) overWeb(t *testing.T, method, path string, header ...string) (code int, text string, resp *http.Response) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, c.webURL()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	client := &http.Client{Transport: new(http.Transport), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	if resp, err = client.Do(r); err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp
}

// TestHTTPRoles asks everything that can be asked with each role: GET needs read, what changes
// something needs admin, and probes need none.
func TestHTTPRoles(t *testing.T) {
	config, _ := granting(t, true)
	c, _ := configured(t, config)
	for pattern := range c.routes() {
		method, path, _ := strings.Cut(pattern, " ")
		open := path == "/healthz" || path == "/readyz" || path == "/whoami" || path == "/" || strings.HasPrefix(path, "/page.")
		if path == "/drain" || path == "/tail" || path == "/download" {
			path += "?follow=0"
		}
		for token, may := range map[string]bool{"": open, "read": open || method == "GET", "work": open, "admin": true} {
			var header []string
			if token != "" {
				header = []string{"Authorization", "bearer " + token}
			}
			if strings.HasPrefix(path, "/drain") && may {
				continue
			}
			code, text, resp := c.overWeb(t, method, path, header...)
			refused := code == 401 || code == 403
			if refused == may || token == "" && !may && (code != 401 || resp.Header.Get("WWW-Authenticate") == "") || token != "" && !may && code != 403 {
				t.Errorf("%s with the token %q: %d %q", pattern, token, code, text)
			}
		}
	}
	for header, want := range map[string]int{"Bearer none": 401, "Bearer": 401, "Bearer  read": 200, "Basic cmVhZDo=": 401, "read": 401} {
		if code, text, _ := c.overWeb(t, "GET", "/status", "Authorization", header); code != want {
			t.Errorf("Authorization: %s: %d %q, want %d", header, code, text, want)
		}
	}
	if n := testutil.ToFloat64(c.openWeb().refused[access.ReasonToken]); n != 2 {
		t.Errorf("%v unknown tokens are counted, want 2", n)
	}
	readOnly, _ := granting(t, false)
	d, _ := configured(t, readOnly)
	if code, text, _ := d.overWeb(t, "POST", "/rotate", "Authorization", "Bearer admin"); code != 403 || !strings.Contains(text, "control = true") {
		t.Errorf("without control: %d %q", code, text)
	}
}

// TestHTTPWithoutAccess: without any table this machine may read, and only the control socket can
// change anything, whatever control says.
func TestHTTPWithoutAccess(t *testing.T) {
	c, _ := configured(t, "[collector.http]\nlisten = \"127.0.0.1:0\"\ncontrol = true\n")
	if code, text, _ := c.overWeb(t, "GET", "/status"); code != 200 {
		t.Errorf("status: %d %q", code, text)
	}
	if code, text, _ := c.overWeb(t, "POST", "/rotate"); code != 403 || !strings.Contains(text, "[[collector.access]]") || !strings.Contains(text, "admin") {
		t.Errorf("rotate: %d %q", code, text)
	}
	if got := c.asked(t, "POST", "/rotate"); !strings.Contains(got, `"generation":1`) {
		t.Errorf("over the control socket: %s", got)
	}
	if code, text, _ := c.overWeb(t, "GET", "/whoami"); code != 200 || text != `{"name":"127.0.0.1","kind":"address","roles":["read","work"],"login":false,"session":false}`+"\n" {
		t.Errorf("whoami: %d %q", code, text)
	}
	p, err := access.New(access.Local(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	x, err := newWeb(c.settings.Collector.HTTP, 1, c.log, nil) // for a peer on another machine
	if err != nil {
		t.Fatal(err)
	}
	x.access, x.id = p, c.id
	r := httptest.NewRequest("GET", "/status", nil)
	r.RemoteAddr, r.Host = "192.0.2.1:1", "127.0.0.1"
	w := httptest.NewRecorder()
	x.guard(http.NotFoundHandler()).ServeHTTP(w, r)
	if w.Code != 403 || !strings.Contains(w.Body.String(), "the role read") {
		t.Errorf("another machine: %d %q", w.Code, w.Body)
	}
}

// loggedIn logs in, and returns the cookie.
func (c *server) loggedIn(t *testing.T, token string) (cookie string, resp *http.Response) {
	t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.PostForm(c.webURL()+"/login", url.Values{"token": {token}})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if all := resp.Cookies(); len(all) > 0 {
		return all[0].Name + "=" + all[0].Value, resp
	}
	return "", resp
}

// TestLogin: a session begins with a token, reads as the token may, and ends by a logout, without
// the token, or by a cookie that is another's.
func TestLogin(t *testing.T) {
	config, files := granting(t, true)
	c, _ := configured(t, config)
	code, form, resp := c.overWeb(t, "GET", "/login")
	if code != 200 || !strings.Contains(form, `<form method="post" action="/login">`) || strings.Contains(form, "alert\"") || strings.Contains(form, "<script") {
		t.Errorf("the form: %d %q", code, form)
	}
	if csp := resp.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "frame-ancestors 'none'") || !strings.Contains(csp, "style-src 'sha256-") {
		t.Errorf("its policy is %q", csp)
	}
	for token, want := range map[string]int{"": 401, "wrong": 401, "work": 403, strings.Repeat("x", 20<<10): 400} {
		if cookie, resp := c.loggedIn(t, token); resp.StatusCode != want || cookie != "" {
			t.Errorf("a login with %.10q: %d %s, want %d", token, resp.StatusCode, cookie, want)
		}
	}
	cookie, resp := c.loggedIn(t, " read\r\n")
	set := resp.Header.Get("Set-Cookie")
	for _, want := range []string{"fanin-" + c.id() + "=", "; Path=/", "; Max-Age=43200", "; HttpOnly", "; SameSite=Strict"} {
		if !strings.Contains(set, want) {
			t.Errorf("the cookie %q lacks %q", set, want)
		}
	}
	if resp.StatusCode != 303 || resp.Header.Get("Location") != "/" || strings.Contains(set, "Secure") {
		t.Errorf("the login answers %d, %s, %s", resp.StatusCode, resp.Header.Get("Location"), set)
	}
	is := func(when string, want int, cookies ...string) {
		t.Helper()
		var header []string
		for _, cookie := range cookies {
			header = append(header, "Cookie", cookie)
		}
		if code, text, _ := c.overWeb(t, "GET", "/status", header...); code != want {
			t.Errorf("%s: %d %q, want %d", when, code, text, want)
		}
	}
	other := "fanin-01234567=" + strings.Repeat("A", 87)
	is("with the cookie", 200, cookie)
	is("among others'", 200, other, strings.SplitN(cookie, "=", 2)[0]+"=x", cookie)
	is("another collector's cookie", 401, other)
	is("with a changed cookie", 401, cookie[:len(cookie)-1]+"_")
	is("without the cookie", 401)
	if code, text, _ := c.overWeb(t, "POST", "/rotate", "Cookie", cookie); code != 403 || !strings.Contains(text, "token read lacks the role admin") {
		t.Errorf("a rotation: %d %q", code, text)
	}
	var who whoami
	if _, text, _ := c.overWeb(t, "GET", "/whoami", "Cookie", cookie); json.Unmarshal([]byte(text), &who) != nil || who.Name != "read" || !who.Login || !who.Session || fmt.Sprint(who.Roles) != "[read]" {
		t.Errorf("whoami: %s", text)
	}
	second, _ := c.loggedIn(t, "read") // browsers send both, if their paths differ
	code, _, resp = c.overWeb(t, "POST", "/logout", "Cookie", cookie, "Cookie", second)
	if set := resp.Header.Get("Set-Cookie"); code != 303 || resp.Header.Get("Location") != "/login" || !strings.Contains(set, "Max-Age=0") {
		t.Errorf("the logout answers %d, %q", code, set)
	}
	is("after the logout", 401, cookie)
	is("of the second cookie, too", 401, second)
	cookie, _ = c.loggedIn(t, "read")
	is("with another session", 200, cookie)
	writeTokens(t, files["read"])
	waittest.Until(t, "the end of the session", func() bool { code, _, _ := c.overWeb(t, "GET", "/status", "Cookie", cookie); return code == 401 })
}

// TestTokenRemoved: what is open with a token ends when the token is removed: a live tail, of a
// session or with the token itself, and a worker. What has another token goes on.
func TestTokenRemoved(t *testing.T) {
	config, files := granting(t, true)
	c, _ := configured(t, config)
	cookie, _ := c.loggedIn(t, "read")
	ended := make(chan string, 3)
	for name, header := range map[string][2]string{"cookie": {"Cookie", cookie}, "bearer": {"Authorization", "Bearer read"}, "admin": {"Authorization", "Bearer admin"}} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", c.webURL()+"/tail", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(header[0], header[1])
		resp, err := http.DefaultClient.Do(r)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%s: %v, %v", name, resp, err)
		}
		go func() { // ends with the answer
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			ended <- name
		}()
	}
	refused := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	welcomed := make(chan struct{}, 100)
	w := worker.Worker{Address: c.address(t, "work"), Options: protocol.Hello{Group: "g", Token: "work"},
		Welcomed: func(protocol.Welcome) { welcomed <- struct{}{} },
		Handle:   func(context.Context, *worker.Delivery) error { return nil }}
	go func() { refused <- w.Run(ctx) }() // ends by stop
	<-welcomed
	writeTokens(t, files["read"], "other")
	for range 2 {
		if name := <-ended; name == "admin" {
			t.Error("a tail with another token ended")
		}
	}
	writeTokens(t, files["work"])
	waittest.Until(t, "the end of the worker", func() bool { return len(c.work.Load().Workers()) == 0 })
	stop()
	<-refused
	if n := len(ended); n > 0 {
		t.Errorf("%s ended, too", <-ended)
	}
}

// TestWorkerRoles: a worker needs the role, and is told why it is refused.
func TestWorkerRoles(t *testing.T) {
	config, _ := granting(t, true)
	c, _ := configured(t, config)
	for token, want := range map[string]string{"": "lacks the role work", "read": "token read lacks the role work", "wrong": "unknown token", "work": "", "admin": ""} {
		ctx, stop := context.WithCancel(t.Context())
		w := worker.Worker{Address: c.address(t, "work"), Options: protocol.Hello{Group: "g", Token: token},
			Welcomed: func(protocol.Welcome) { stop() }, Handle: func(context.Context, *worker.Delivery) error { return nil }}
		err := w.Run(ctx)
		stop()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("with the token %q: %v, want %q", token, err, want)
		}
	}
}
