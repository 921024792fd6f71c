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
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanin/internal/certs"
	"fanin/internal/config"
	"fanin/internal/origin"
)

// web is the collector's HTTP over TCP, where browsers and strangers may be. It
// bounds connections, and says which requests are answered:
//
//   - a certificate must bear one of client_names, if there are any;
//   - the Host header must be an address or one of our own names: a page of another
//     site can have its own name lead to this listener, and then read what it likes,
//     but it cannot have the browser send another name than that;
//   - a request that changes something must not come from a page of another site;
//   - and only with control = true may anything be changed at all.
type web struct {
	table   *httpTable
	tls     *tls.Config // nil: plain
	allowed func(tls.ConnectionState) error
	hosts   []string
	cross   *http.CrossOriginProtection
	conns   conns
	refused map[string]prometheus.Counter

	log  *slog.Logger
	mu   sync.Mutex
	said map[string]time.Time
}

func newWeb(h *httpTable, maxConns int, log *slog.Logger) (*web, error) {
	x := &web{table: h, log: log, allowed: certs.Named(h.ClientNames), cross: http.NewCrossOriginProtection(),
		refused: make(map[string]prometheus.Counter), said: make(map[string]time.Time)}
	x.conns = conns{max: maxConns, perIP: config.Or(h.MaxConnsPerIP, 256), rejected: x.rejected, states: make(map[net.Conn]connState)}
	host, _, err := net.SplitHostPort(h.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen on http %s: %w", h.Listen, err)
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host, _ = os.Hostname()
	}
	for _, name := range append([]string{host, "localhost"}, h.Hosts...) { // no page can have localhost lead elsewhere
		x.hosts = append(x.hosts, strings.ToLower(name))
	}
	for _, reason := range []string{"certificate", "host", "cross_site", "read_only"} {
		x.refused[reason] = prometheus.NewCounter(prometheus.CounterOpts{Name: "fanin_http_refused_requests_total",
			Help: "Requests over HTTP that were not answered, by reason.", ConstLabels: prometheus.Labels{"reason": reason}})
	}
	for _, reason := range []string{"max_conns", "max_conns_per_ip", "yielded"} {
		x.refused[reason] = prometheus.NewCounter(prometheus.CounterOpts{Name: "fanin_http_closed_connections_total",
			Help: "HTTP connections that were turned away, or idle and closed for a new one, by reason.", ConstLabels: prometheus.Labels{"reason": reason}})
	}
	if h.TLS != nil {
		if x.tls, err = h.TLS.Files(log).Server(); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// guard answers with next what may be asked.
func (x *web) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reason, err := x.check(r)
		if err == nil {
			next.ServeHTTP(w, r)
			return
		}
		x.refused[reason].Inc()
		x.warn(reason, "a request over HTTP was refused", "err", err, "method", r.Method, "path", r.URL.Path, "peer", r.RemoteAddr)
		http.Error(w, err.Error(), http.StatusForbidden)
	})
}

// check says why a request is not answered, and in one of a few words.
func (x *web) check(r *http.Request) (reason string, err error) {
	if r.TLS != nil {
		if err := x.allowed(*r.TLS); err != nil {
			return "certificate", err
		}
	}
	probe := r.URL.Path == "/healthz" || r.URL.Path == "/readyz" // for those that call us by any name
	if !probe && !x.known(r.Host) {
		return "host", fmt.Errorf("%.100q is no name of this listener: ask by its address, or add the name to hosts in [collector.http]", r.Host)
	}
	if err := x.cross.Check(r); err != nil {
		return "cross_site", fmt.Errorf("a page of another site may change nothing here: %w", err)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead && !x.table.Control {
		return "read_only", errors.New("over HTTP this collector is read only: use its control socket (fanin-collector with --config or --out), or set control = true in [collector.http]")
	}
	return "", nil
}

// known reports whether host, with or without a port, is an address or a name of
// ours: also one of the certificate's, which no other site has.
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
	x.warn(reason, text, args...)
}

// warn logs at most once in ten seconds for each reason; all are counted.
func (x *web) warn(reason, text string, args ...any) {
	x.mu.Lock()
	now := time.Now()
	due := now.Sub(x.said[reason]) >= 10*time.Second
	if due {
		x.said[reason] = now
	}
	x.mu.Unlock()
	if due {
		x.log.Warn(text, args...)
	}
}

// serve answers on ln until the control is closed.
func (x *web) serve(k *control, ln net.Listener, h http.Handler) {
	x.conns.Listener = ln
	ln = &x.conns
	if x.tls != nil {
		ln = tls.NewListener(ln, x.tls)
	}
	k.serve(ln, &http.Server{Handler: x.guard(h), ReadHeaderTimeout: time.Duration(config.Or(x.table.HeaderTimeout, defaultHeaderTimeout)),
		IdleTimeout: time.Duration(config.Or(x.table.IdleTimeout, defaultIdleTimeout)), ConnState: x.conns.state, ErrorLog: stdlog.New(serverLog{x}, "", 0)})
}

// serverLog takes what the library says of connections, such as failed handshakes.
type serverLog struct{ *web }

func (l serverLog) Write(text []byte) (int, error) {
	l.warn("server", "the HTTP listener has trouble with a peer", "err", strings.TrimSpace(string(text)))
	return len(text), nil
}

// Describe sends nothing: what is collected describes itself.
func (x *web) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics of the HTTP listener.
func (x *web) Collect(out chan<- prometheus.Metric) {
	for _, c := range x.refused {
		out <- c
	}
	desc := prometheus.NewDesc("fanin_http_connections", "HTTP connections now, by what they do.", []string{"state"}, nil)
	for state, n := range x.conns.count() {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(n), state)
	}
}

// conns is a listener with a bounded number of connections. When all are in use, a
// new one takes the place of the one that is idle longest.
type conns struct {
	net.Listener
	max, perIP int // 0, perIP < 0: no bound
	rejected   func(reason, text string, args ...any)

	mu     sync.Mutex
	open   int
	ofIP   map[netip.Prefix]int // see package origin
	states map[net.Conn]connState
}

type connState struct {
	http.ConnState
	since time.Time
}

// Accept waits for a connection that there is room for.
func (l *conns) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.take(nc); c != nil {
			return c, nil
		}
		nc.Close()
	}
}

// take counts a connection; nil: there is no room.
func (l *conns) take(nc net.Conn) net.Conn {
	addr := origin.Parse(nc.RemoteAddr().String())
	ip := origin.Network(addr)
	l.mu.Lock()
	full := l.max > 0 && l.open >= l.max
	crowded := l.perIP > 0 && !origin.Local(addr) && l.ofIP[ip] >= l.perIP
	l.mu.Unlock()
	peer := nc.RemoteAddr().String()
	if crowded {
		l.rejected("max_conns_per_ip", "too many HTTP connections from one address: raise max_conns_per_ip in [collector.http] if they are wanted", "peer", peer, "limit", l.perIP)
		return nil
	}
	if full && !l.yield() {
		l.rejected("max_conns", "too many HTTP connections: raise max_conns in [collector.http] if they are wanted", "peer", peer, "limit", l.max)
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open++
	if l.ofIP == nil {
		l.ofIP = make(map[netip.Prefix]int)
	}
	l.ofIP[ip]++
	return &countedConn{Conn: nc, closed: sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.open--
		if l.ofIP[ip]--; l.ofIP[ip] == 0 {
			delete(l.ofIP, ip)
		}
	})}
}

// yield closes the connection that is idle longest.
func (l *conns) yield() bool {
	l.mu.Lock()
	var oldest net.Conn
	for nc, st := range l.states {
		if st.ConnState == http.StateIdle && (oldest == nil || st.since.Before(l.states[oldest].since)) {
			oldest = nc
		}
	}
	delete(l.states, oldest)
	l.mu.Unlock()
	if oldest == nil {
		return false
	}
	if t, ok := oldest.(*tls.Conn); ok {
		oldest = t.NetConn() // without a last word, which might wait
	}
	oldest.Close()
	l.rejected("yielded", "all HTTP connections are in use: an idle one was closed for a new one", "limit", l.max)
	return true
}

// state is told what becomes of each connection.
func (l *conns) state(nc net.Conn, s http.ConnState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s == http.StateClosed || s == http.StateHijacked {
		delete(l.states, nc)
		return
	}
	l.states[nc] = connState{s, time.Now()}
}

func (l *conns) count() map[string]int {
	n := map[string]int{"new": 0, "active": 0, "idle": 0}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, st := range l.states {
		n[st.String()]++
	}
	return n
}

// countedConn tells when it is closed.
type countedConn struct {
	net.Conn
	closed func()
}

func (c *countedConn) Close() error {
	defer c.closed()
	return c.Conn.Close()
}
