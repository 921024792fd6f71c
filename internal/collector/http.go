package collector

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanin/internal/daemon"
)

func (t *httpTable) needs() needs {
	return needs{ports: []port{{network: "tcp", listen: t.Listen, tls: t.TLS}}}
}

// open binds the address. Requests are answered until the log is closed.
func (t *httpTable) open(_ context.Context, s *server, conns int) (*listener, error) {
	x, err := newWeb(t, conns, s.log, &s.fleet.gate)
	if err != nil {
		return nil, &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	x.access, x.id = s.access, s.id
	s.access.OpenKey(filepath.Join(s.settings.state(), sessionKeyName), s.log)
	ln, err := s.sockets.listen(t.Listen, t.Insecure || s.settings.insecure || x.tls != nil)
	if err != nil {
		return nil, fmt.Errorf("listen on http %s: %w", t.Listen, err)
	}
	mux := s.handler(false)
	x.handleLogin(mux)
	answering := &webServer{x.server(mux), x.listener(ln)}
	return &listener{kind: "http", address: ln.Addr().String(), lasts: true, serve: answering.serve,
		handover: handover{retire: answering.retire, rest: answering.rest},
		shutdown: func(context.Context) error { return nil }, // healthz is answered to the end: see close
		close:    answering.close, metrics: []prometheus.Collector{x}}, nil
}

// webServer answers on one listener.
type webServer struct {
	*http.Server
	ln net.Listener
}

func (x *webServer) serve() error {
	if err := x.Serve(x.ln); err != http.ErrServerClosed && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// retire accepts no more connections. Requests are answered, and idle connections end.
func (x *webServer) retire() { x.ln.Close() }

// How long requests may take after their listener has ended: because another one has its place,
// or because the collector stops. A live tail that is cut off goes on where it was.
const (
	lastRequests = 5 * time.Second
	lastAnswers  = time.Second
)

func (x *webServer) rest(ctx context.Context) { x.end(ctx, lastRequests) }

func (x *webServer) close() { x.end(context.Background(), lastAnswers) }

func (x *webServer) end(ctx context.Context, within time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if x.Shutdown(ctx) != nil {
		x.Server.Close()
	}
	x.ln.Close()
}
