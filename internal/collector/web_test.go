package collector

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"fanin/internal/access"
	"fanin/internal/certs/certstest"
	"fanin/internal/config"
	"fanin/internal/config/tables"
	"fanin/internal/retry"
	"fanin/internal/waittest"
	"fanin/sink"
	"fanin/sink/livetail"
)

func newTestWeb(t *testing.T, h *httpTable) *web {
	t.Helper()
	if h.Listen == "" {
		h.Listen = "127.0.0.1:0"
	}
	anyone := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	p, err := access.New([]access.Rule{{Role: access.All, Networks: anyone}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	x, err := newWeb(h, config.Or(h.MaxConns, defaultHTTPConns), slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	x.access, x.id = p, func() string { return "01234567" }
	return x
}

// asked is what a guard answers to a request; 200 is what it lets through.
func asked(x *web, method, path, host string, header ...string) (code int, text string) {
	r := httptest.NewRequest(method, path, nil)
	r.Host = host
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	x.guard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {})).ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestHTTPHost(t *testing.T) {
	x := newTestWeb(t, &httpTable{Listen: "collector.example:6790", Hosts: []string{"Logs.example", "logs"}})
	for host, in := range map[string]bool{
		"127.0.0.1": true, "127.0.0.1:6790": true, "192.0.2.7:80": true, "[::1]:6790": true, "[::1]": true, "[2001:db8::1]": true,
		"localhost:6790": true, "LOCALHOST": true, "localhost.:6790": true, "collector.example:6790": true, "Collector.Example": true, "logs.example": true, "logs:6790": true,
		"": false, "evil.example": false, "evil.example:6790": false, "127.0.0.1.evil.example": false, "localhost.evil.example:6790": false,
		"collector.example.evil": false, "xlogs": false, "127.0.0.1@evil.example": false, ".": false, ":6790": false, "evil": false,
	} {
		code, text := asked(x, "GET", "/tail?from=start", host)
		if in != (code == 200) || !in && (code != 403 || !strings.Contains(text, "hosts in [collector.http]")) {
			t.Errorf("host %q: %d %q", host, code, text)
		}
		for _, probe := range []string{"/healthz", "/readyz"} {
			if code, _ := asked(x, "GET", probe, host); code != 200 {
				t.Errorf("%s at host %q: %d", probe, host, code)
			}
		}
	}
}

// Each request that the collector knows is refused to a page whose name was made to
// lead here, and each that changes something to other sites, and without control.
func TestHTTPEveryRoute(t *testing.T) {
	c := &server{tail: new(livetail.Tail), metrics: prometheus.NewRegistry(), sink: new(sink.Sink)}
	readOnly, full := newTestWeb(t, new(httpTable)), newTestWeb(t, &httpTable{Control: true})
	posts := 0
	for pattern := range c.routes() {
		method, path, _ := strings.Cut(pattern, " ")
		probe := path == "/healthz" || path == "/readyz"
		if code, _ := asked(full, method, path, "evil.example"); (code == 403) == probe {
			t.Errorf("%s by the name of another site: %d", pattern, code)
		}
		want := 200
		if method != "GET" {
			posts++
			want = 403
			for _, header := range [][]string{
				{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "http://evil.example"}, {"Origin", "null"},
				{"Origin", "http://127.0.0.1:8080"},
			} {
				if code, text := asked(full, method, path, "127.0.0.1:6790", header...); code != 403 || !strings.Contains(text, "another site") {
					t.Errorf("%s with %q: %d %q", pattern, header, code, text)
				}
			}
			if code, text := asked(readOnly, method, path, "127.0.0.1"); !strings.Contains(text, "control = true") {
				t.Errorf("%s without control: %d %q", pattern, code, text)
			}
			for _, header := range [][]string{{}, {"Sec-Fetch-Site", "same-origin"}, {"Sec-Fetch-Site", "none"}, {"Origin", "http://127.0.0.1:6790"}} {
				if code, text := asked(full, method, path, "127.0.0.1:6790", header...); code != 200 {
					t.Errorf("%s with control and %q: %d %q", pattern, header, code, text)
				}
			}
		}
		if code, text := asked(readOnly, method, path, "127.0.0.1"); code != want {
			t.Errorf("%s: %d %q", pattern, code, text)
		}
	}
	if posts < 7 {
		t.Errorf("%d routes change something", posts)
	}
	for _, method := range []string{"PUT", "DELETE", "PATCH", "post", "CONNECT", "OPTIONS"} {
		if code, _ := asked(readOnly, method, "/drain", "127.0.0.1"); code != 403 {
			t.Errorf("%s /drain: %d", method, code)
		}
	}
	if n := testutil.ToFloat64(readOnly.refused["read_only"]); n < 7 {
		t.Errorf("%v counted", n)
	}
}

// With client_names only those certificates are answered, and others are told why.
func TestHTTPClientNames(t *testing.T) {
	ca := certstest.New(t)
	_, cert, key := ca.Files(t.TempDir(), ca.Sign("collector", "logs.example"))
	caFile, _, _ := ca.Files(t.TempDir(), ca.Sign("x"))
	x := newTestWeb(t, &httpTable{TLS: &tables.ServerTLS{Cert: cert, Key: key, ClientCA: caFile}, ClientNames: []string{"ops-*"}})
	k, address := serveWeb(t, x, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "in") }))
	defer k.close()
	ask := func(name, host string) (int, string) {
		client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool, ServerName: "127.0.0.1", Certificates: []tls.Certificate{ca.Sign(name)}}}}
		defer client.CloseIdleConnections()
		r, _ := http.NewRequest("GET", "https://"+address+"/status", nil)
		r.Host = host
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	if code, text := ask("ops-1", "127.0.0.1"); code != 200 || text != "in" {
		t.Errorf("ops-1: %d %q", code, text)
	}
	if code, text := ask("ops-1", "logs.example:6790"); code != 200 { // a name of our certificate
		t.Errorf("ops-1: %d %q", code, text)
	}
	if code, text := ask("ops-1", "evil.example"); code != 403 {
		t.Errorf("ops-1: %d %q", code, text)
	}
	if code, text := ask("web-1", "127.0.0.1"); code != 403 || !strings.Contains(text, "client_names") {
		t.Errorf("web-1: %d %q", code, text)
	}
	if n := testutil.ToFloat64(x.refused["certificate"]); n != 1 {
		t.Errorf("%v counted", n)
	}
	bare := httptest.NewRequest("GET", "https://127.0.0.1/status", nil)
	bare.TLS = new(tls.ConnectionState)
	if reason, err := x.check(bare); err == nil || reason != "certificate" {
		t.Errorf("without a certificate: %q, %v", reason, err)
	}
}

// serve answers on ln until k is closed.
func (x *web) serve(k *control, ln net.Listener, h http.Handler) {
	k.serve(x.listener(ln), x.server(h))
}

func serveWeb(t *testing.T, x *web, h http.Handler) (*control, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := new(control)
	x.serve(k, ln, h)
	return k, ln.Addr().String()
}

// getOnce sends a request and reads its answer, and keeps the connection.
func getOnce(t *testing.T, nc net.Conn) error {
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(nc, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		return err
	}
	_, err = io.ReadAll(resp.Body)
	return err
}

func dialWeb(t *testing.T, address string) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return nc
}

// Idle connections make way for new ones; busy ones do not, and the next is turned away.
func TestHTTPMaxConns(t *testing.T) {
	three := 3
	x := newTestWeb(t, &httpTable{MaxConns: &three})
	release, busy := make(chan struct{}), make(chan struct{}, 3)
	k, address := serveWeb(t, x, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/busy" {
			busy <- struct{}{}
			<-release
		}
	}))
	defer k.close()
	idle := 0
	rest := func(n int) { // until the server knows that so many are idle
		waittest.UntilEqual(t, "idle connections", n, func() int { return x.conns.count()["idle"] })
	}
	for i := range 20 {
		rest(min(i, 3))
		if err := getOnce(t, dialWeb(t, address)); err != nil {
			idle++
		}
	}
	rest(3)
	if idle > 0 || testutil.ToFloat64(x.refused["max_conns"]) > 0 {
		t.Errorf("%d of 20 were not answered although others were idle", idle)
	}
	if n := testutil.ToFloat64(x.refused["yielded"]); n != 17 {
		t.Errorf("%v yielded, want 17", n)
	}
	for range 3 {
		fmt.Fprintf(dialWeb(t, address), "GET /busy HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
		<-busy
	}
	if err := getOnce(t, dialWeb(t, address)); err == nil {
		t.Error("a fourth connection was taken")
	}
	if n := testutil.ToFloat64(x.refused["max_conns"]); n != 1 {
		t.Errorf("%v turned away", n)
	}
	if n := x.conns.count()["active"]; n != 3 {
		t.Errorf("%d active", n)
	}
	close(release)
}

// from lets connections come from addresses: one each, and all others from the last.
type from struct {
	net.Listener
	ips []string
}

func (l *from) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	ip := l.ips[0]
	if len(l.ips) > 1 {
		l.ips = l.ips[1:]
	}
	return &fromConn{nc, net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(ip), 1))}, nil
}

type fromConn struct {
	net.Conn
	addr net.Addr
}

func (c *fromConn) RemoteAddr() net.Addr { return c.addr }

func TestHTTPMaxConnsPerIP(t *testing.T) {
	two := 2
	for _, x := range []struct {
		from    []string
		refused bool
	}{
		{[]string{"192.0.2.1"}, true}, {[]string{"127.0.0.1"}, false}, {[]string{"::1"}, false}, {[]string{"127.0.0.2"}, true},
		{[]string{"2001:db8::1", "2001:db8::2", "2001:db8::3"}, true}, {[]string{"2001:db8::1", "2001:db8::2", "2001:db8:0:1::3"}, false},
	} {
		addresses, want := x.from, x.refused
		x := newTestWeb(t, &httpTable{MaxConnsPerIP: &two})
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		k := new(control)
		x.serve(k, &from{ln, addresses}, http.NotFoundHandler())
		var refused error
		for range 3 {
			refused = getOnce(t, dialWeb(t, ln.Addr().String()))
		}
		if (refused != nil) != want || (testutil.ToFloat64(x.refused["max_conns_per_ip"]) == 1) != want {
			t.Errorf("%s: the third connection: %v", addresses, refused)
		}
		k.close()
		if x.conns.open != 0 || len(x.conns.ofIP) != 0 {
			t.Errorf("%d connections are still counted", x.conns.open)
		}
	}
}

// A connection that says nothing, or that has been answered, is not kept.
func TestHTTPTimeouts(t *testing.T) {
	short := config.Duration(20 * time.Millisecond)
	x := newTestWeb(t, &httpTable{HeaderTimeout: &short, IdleTimeout: &short})
	k, address := serveWeb(t, x, http.NotFoundHandler())
	defer k.close()
	for _, begin := range []string{"", "GET / HTTP/1.1\r\n", "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"} {
		nc := dialWeb(t, address)
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(nc, begin)
		if _, err := io.ReadAll(nc); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("after %q: %v", begin, err)
		}
	}
}

// What the library says of peers goes through our log, which escapes it, and not
// too often.
func TestHTTPServerLog(t *testing.T) {
	ca := certstest.New(t)
	_, cert, key := ca.Files(t.TempDir(), ca.Sign("collector"))
	x := newTestWeb(t, &httpTable{TLS: &tables.ServerTLS{Cert: cert, Key: key}})
	said := make(chan string, 100)
	x.log = retry.NewLog(slog.New(slog.NewTextHandler(writerFunc(func(p []byte) { said <- string(p) }), nil)))
	k, address := serveWeb(t, x, http.NotFoundHandler())
	defer k.close()
	for range 5 {
		nc := dialWeb(t, address)
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(nc, "no TLS\x1b[2J\r\n\r\n")
		io.ReadAll(nc)
	}
	if line := <-said; !strings.Contains(line, "level=WARN") || strings.Contains(line, "\x1b") || strings.Count(line, "\n") != 1 {
		t.Errorf("said %q", line)
	}
	if n := len(said); n != 0 {
		t.Errorf("and %d more", n)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

func TestHTTPConfiguration(t *testing.T) {
	for _, c := range []struct{ table, problem string }{
		{"[collector.http]\nlisten = \"127.0.0.1:0\"\nclient_names = [\"ops\"]", "client_ca"},
		{"[collector.work]\nlisten = \"127.0.0.1:0\"\nclient_names = [\"ops\"]\ntls = {cert = \"c\", key = \"k\"}", "client_ca"},
		{"[[collector.tcp]]\nlisten = \"127.0.0.1:0\"\nclient_names = [\"ops\"]", "client_ca"},
		{"[[collector.tcp]]\nlisten = \"127.0.0.1:0\"\nclient_names = []\ntls = {cert = \"c\", key = \"k\", client_ca = \"a\"}", "empty"},
		{"[[collector.tcp]]\nlisten = \"127.0.0.1:0\"\nclient_names = [\"a[\"]\ntls = {cert = \"c\", key = \"k\", client_ca = \"a\"}", "invalid pattern"},
		{"[collector.http]\nlisten = \"127.0.0.1:0\"\nhosts = [\"http://x\"]", "invalid host name"},
		{"[collector.http]\nlisten = \"127.0.0.1:0\"\nhosts = [\"*\"]", "invalid host name"},
		{"[collector.http]\nlisten = \"127.0.0.1:0\"\nidle_timeout = \"off\"", "silent connection"},
		{"[collector.http]\nlisten = \"127.0.0.1:0\"\nmax_conns = 0", "at least 1"},
		{"[[collector.tcp]]\nlisten = \"127.0.0.1:0\"\nclient_names = [\"ops-*\"]\ntls = {cert = \"c\", key = \"k\", client_ca = \"a\"}", ""},
	} {
		_, err := loadConfig(t, "[collector.log]\npath = \"x\"\n"+c.table)
		if (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%s: %v, want %q", c.table, err, c.problem)
		}
	}
}

func loadConfig(t *testing.T, text string) (*settings, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return (&options{config: path}).load()
}
