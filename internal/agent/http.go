package agent

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/netutil"

	"fanin/internal/config"
	"fanin/internal/escape"
	"fanin/internal/retry"
)

// httpTable is [agent.http]: health and metrics, and nothing that changes anything.
type httpTable struct {
	Listen        string           `toml:"listen"`
	Hosts         []string         `toml:"hosts"`
	MaxConns      *int             `toml:"max_conns"`
	HeaderTimeout *config.Duration `toml:"header_timeout"`
	IdleTimeout   *config.Duration `toml:"idle_timeout"`
}

const (
	defaultHTTP          = "127.0.0.1:6792"
	defaultHTTPConns     = 64
	defaultHeaderTimeout = config.Duration(5 * time.Second)
	defaultIdleTimeout   = config.Duration(time.Minute)
)

func (t *httpTable) check(at config.Table) {
	if t == nil {
		return
	}
	if _, port, err := net.SplitHostPort(t.address()); err != nil || port == "" {
		at.Problem("listen", "listen is %q; want host:port, as in %q", t.Listen, defaultHTTP)
	}
	at.Between("max_conns", t.MaxConns, 1, 1000)
	at.DurationAtLeast("header_timeout", t.HeaderTimeout, time.Millisecond)
	at.DurationAtLeast("idle_timeout", t.IdleTimeout, time.Millisecond)
}

func (t *httpTable) address() string { return cmp.Or(t.Listen, defaultHTTP) }

// open opens the listener.
func (t *httpTable) open() (net.Listener, error) {
	ln, err := net.Listen("tcp", t.address())
	if err != nil {
		return nil, fmt.Errorf("listen on http %s: %w ([agent.http] listen sets another address)", t.address(), err)
	}
	return ln, nil
}

// free tries the address.
func (t *httpTable) free() error {
	if t == nil {
		return nil
	}
	ln, err := t.open()
	if err != nil {
		return err
	}
	return ln.Close()
}

// serveHTTP answers over HTTP, if that is configured, on a goroutine that ends with closeHTTP.
func (a *agent) serveHTTP() error {
	t := a.settings.Agent.HTTP
	if t == nil {
		return nil
	}
	ln, err := t.open()
	if err != nil {
		return err
	}
	a.web = &http.Server{Addr: ln.Addr().String(), Handler: a.handler(t),
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: time.Duration(config.Or(t.HeaderTimeout, defaultHeaderTimeout)),
		ReadTimeout:       10 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
		IdleTimeout: time.Duration(config.Or(t.IdleTimeout, defaultIdleTimeout))}
	escape.Fprintf(os.Stderr, "listening http %s\n", a.web.Addr)
	go a.web.Serve(netutil.LimitListener(ln, config.Or(t.MaxConns, defaultHTTPConns)))
	return nil
}

func (a *agent) closeHTTP() {
	if a.web != nil {
		a.web.Close()
	}
}

// handler answers requests. Probes may use any name for this machine; otherwise the name must
// be its own: a page of another site can have its name lead here, and then read what it likes.
func (a *agent) handler(t *httpTable) http.Handler {
	refused := retry.NewLog(a.log)
	own := func(next http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if t.knows(r.Host) {
				next(w, r)
				return
			}
			refused.Warn("host", "a request over HTTP was refused", "host", r.Host, "path", r.URL.Path,
				"peer", r.RemoteAddr)
			http.Error(w, fmt.Sprintf("%.100q is not a name of this listener: use its address, or add the name to "+
				"hosts in [agent.http]", r.Host), http.StatusForbidden)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", a.healthz)
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.HandleFunc("GET /metrics", own(a.metrics))
	return mux
}

// knows reports whether host, with or without a port, is an address or a name of this machine.
func (t *httpTable) knows(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	machine, _ := os.Hostname()
	listen, _, _ := net.SplitHostPort(t.address())
	known := append([]string{"localhost", machine, listen}, t.Hosts...)
	return host != "" && slices.ContainsFunc(known, func(name string) bool { return strings.EqualFold(name, host) })
}

// deadAfter is after what time without a look at the files the agent counts as hung.
const deadAfter = time.Minute

// healthz answers whether the agent works: it looks at its files, whether there is a
// connection or not.
func (a *agent) healthz(w http.ResponseWriter, _ *http.Request) {
	last := time.Unix(0, a.alive.Load())
	if last.Unix() <= 0 {
		last = a.started
	}
	if quiet := time.Since(last); quiet > deadAfter {
		why := fmt.Sprintf("no look at the files for %v", quiet.Round(time.Second))
		http.Error(w, why, http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, "ok\n") // the client may be gone
}

// readyz answers whether lines reach the collector now, and if not, why.
func (a *agent) readyz(w http.ResponseWriter, _ *http.Request) {
	reason := ""
	if a.shipper != nil {
		reason = a.shipper.Trouble()
	}
	w.Header().Set("Content-Type", "application/json")
	if reason != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	json.NewEncoder(w).Encode(map[string]any{"ready": reason == "", "reason": reason})
}
