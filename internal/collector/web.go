package collector

import (
	"crypto/tls"
	"errors"
	"fmt"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanin/internal/access"
	"fanin/internal/certs"
	"fanin/internal/config"
	"fanin/internal/page"
	"fanin/internal/retry"
)

// web is the collector's HTTP over TCP, where browsers and untrusted clients may connect. It
// limits connections, and decides which requests are answered:
//
//   - a certificate must have one of client_names, if there are any;
//   - the Host header must be an address or one of our own names: a page of another
//     site can have its own name lead to this listener, and then read what it likes,
//     but it cannot have the browser send another name than that;
//   - no page of another site may send requests, except that it may link to ours, and none
//     may have ours in a frame;
//   - only with control = true may anything be changed at all;
//   - and the caller needs the role, see roleFor.
type web struct {
	access  *access.Policy
	id      func() string // of the log
	table   *httpTable
	tls     *tls.Config // nil: plain
	allowed func(tls.ConnectionState) error
	hosts   []string
	cross   *http.CrossOriginProtection
	conns   conns
	refused map[string]prometheus.Counter
	log     *retry.Log
}

func newWeb(h *httpTable, maxConns int, log *slog.Logger, gate *certs.Gate) (*web, error) {
	x := &web{table: h, log: retry.NewLog(log), allowed: certs.Named(h.ClientNames),
		cross:   http.NewCrossOriginProtection(),
		refused: make(map[string]prometheus.Counter)}
	x.conns = conns{max: maxConns, perIP: config.Or(h.MaxConnsPerIP, 256), rejected: x.rejected,
		states: make(map[net.Conn]connState)}
	host, _, err := net.SplitHostPort(h.Listen)
	if _, ok := systemdName(h.Listen); ok {
		host = ""
	} else if err != nil {
		return nil, fmt.Errorf("listen on http %s: %w", h.Listen, err)
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host, _ = os.Hostname()
	}
	for _, name := range append([]string{host, "localhost"}, h.Hosts...) { // no page can make localhost lead elsewhere
		x.hosts = append(x.hosts, strings.ToLower(name))
	}
	for _, reason := range []string{"certificate", "host", "cross_site", "frame", "read_only", access.ReasonRole,
		access.ReasonToken, access.ReasonLimited, access.ReasonUnencrypted} {
		x.refused[reason] = prometheus.NewCounter(prometheus.CounterOpts{Name: "fanin_http_refused_requests_total",
			Help: "Requests over HTTP that were refused, by reason.", ConstLabels: prometheus.Labels{"reason": reason}})
	}
	for _, reason := range []string{"max_conns", "max_conns_per_ip", "yielded", "not_allowed"} {
		x.refused[reason] = prometheus.NewCounter(prometheus.CounterOpts{Name: "fanin_http_closed_connections_total",
			Help:        "HTTP connections that were refused, or idle and closed for a new one, by reason.",
			ConstLabels: prometheus.Labels{"reason": reason}})
	}
	if h.TLS != nil {
		files := h.TLS.Files(log)
		files.Gate = gate
		if x.tls, err = files.Server(); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// guard lets allowed requests pass to next.
func (x *web) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page.Headers(w.Header())
		if reason, err := x.check(r); err != nil {
			x.count(r, reason, err)
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		x.answer(w, r, next)
	})
}

// check reports why a request is not answered: one of a few words, and the error.
func (x *web) check(r *http.Request) (reason string, err error) {
	if r.TLS != nil {
		if err := x.allowed(*r.TLS); err != nil {
			return "certificate", err
		}
	}
	probe := r.URL.Path == "/healthz" || r.URL.Path == "/readyz" // probes may use any name
	if !probe && !x.known(r.Host) {
		return "host", fmt.Errorf("%.100q is not a name of this listener: use its address, or add the name to "+
			"hosts in [collector.http]", r.Host)
	}
	if err := x.cross.Check(r); err != nil {
		return "cross_site", fmt.Errorf("a page of another site must not change anything here: %w", err)
	}
	if err := foreign(r); err != nil {
		return "cross_site", err
	}
	if framed(r) {
		return "frame", errors.New("a page must not have this one in a frame")
	}
	if _, open := roleFor(r); !reads(r) && !open && !x.table.Control {
		return "read_only", errors.New("this collector is read-only over HTTP: use its control socket " +
			"(fanin-collector with --config or --out), or set control = true in [collector.http]")
	}
	return "", nil
}

// foreign refuses what a page of another site has its browser send, by the headers that browsers
// add (Fetch Metadata; Origin). It may link to a page here, and nothing else.
func foreign(r *http.Request) error {
	h := r.Header
	linked := h.Get("Sec-Fetch-Mode") == "navigate" && h.Get("Sec-Fetch-Dest") == "document" && reads(r)
	if site := h.Get("Sec-Fetch-Site"); (site == "cross-site" || site == "same-site") && !linked {
		return fmt.Errorf("a page of another site must not read anything here (Sec-Fetch-Site is %s)", site)
	}
	if origin := h.Get("Origin"); origin != "" {
		if u, err := url.Parse(origin); err != nil || u.Host != r.Host {
			return fmt.Errorf("a page of another site must not read anything here (Origin is %.100q)", origin)
		}
	}
	return nil
}

// framed reports whether a browser asks for something to show within a page.
func framed(r *http.Request) bool {
	return slices.Contains([]string{"frame", "iframe", "object", "embed"}, r.Header.Get("Sec-Fetch-Dest"))
}

// known reports whether host, with or without a port, is an address or a name of this
// listener: also one of its certificate's, which no other site has.
func (x *web) known(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	if host == "" || slices.Contains(x.hosts, host) {
		return host != ""
	}
	if x.tls == nil {
		return false
	}
	now, err := x.tls.GetConfigForClient(&tls.ClientHelloInfo{})
	return err == nil && now.Certificates[0].Leaf.VerifyHostname(host) == nil
}

func (x *web) rejected(reason, text string, args ...any) {
	x.refused[reason].Inc()
	x.log.Warn(reason, text, args...)
}

// listener accepts the connections of ln that may be there.
func (x *web) listener(ln net.Listener) net.Listener {
	x.conns.Listener = x.table.filter(ln, func(peer string) {
		x.rejected("not_allowed", "an address that is not in allow of [collector.http] was refused", "peer", peer)
	})
	if x.tls != nil {
		return tls.NewListener(&x.conns, x.tls)
	}
	return &x.conns
}

// server answers with h what is allowed.
func (x *web) server(h http.Handler) *http.Server {
	return bounded(&http.Server{Handler: x.guard(h), ConnState: x.conns.state,
		ErrorLog:          stdlog.New(serverLog{x}, "", 0),
		ReadHeaderTimeout: time.Duration(config.Or(x.table.HeaderTimeout, defaultHeaderTimeout)),
		IdleTimeout:       time.Duration(config.Or(x.table.IdleTimeout, defaultIdleTimeout))})
}

// serverLog logs what the library reports about connections, such as failed handshakes.
type serverLog struct{ *web }

func (l serverLog) Write(text []byte) (int, error) {
	l.log.Warn("server", "the connection of a peer to the HTTP listener failed", "err", strings.TrimSpace(string(text)))
	return len(text), nil
}

// Describe sends nothing: what is collected describes itself.
func (x *web) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics of the HTTP listener.
func (x *web) Collect(out chan<- prometheus.Metric) {
	for _, c := range x.refused {
		out <- c
	}
	desc := prometheus.NewDesc("fanin_http_connections", "HTTP connections now, by what they do.", []string{"state"},
		nil)
	for state, n := range x.conns.count() {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(n), state)
	}
}
