package collector

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"fanin/internal/escape"
	"fanin/internal/page"
	"fanin/sink"
	"fanin/sink/distribute"
	"fanin/sink/livetail"
)

// handler answers every request; local: as the control socket does.
func (c *server) handler(local bool) *http.ServeMux {
	mux := http.NewServeMux()
	routes := c.routes()
	for _, r := range c.requests() {
		if r.local && !local {
			delete(routes, r.pattern())
		}
	}
	for pattern, h := range routes {
		mux.Handle(pattern, h)
	}
	return mux
}

// routes are the handlers by method and path: all requests, what is no JSON, and the
// files of the page.
func (c *server) routes() map[string]http.Handler {
	routes := map[string]http.Handler{
		"GET /tail":     c.tail,
		"GET /read":     &c.reads,
		"GET /download": livetail.Download{Tail: c.tail},
		"GET /healthz":  http.HandlerFunc(alive),
		"GET /readyz":   http.HandlerFunc(c.ready),
		"GET /metrics":  promhttp.HandlerFor(c.metrics, promhttp.HandlerOpts{}),
	}
	maps.Copy(routes, page.Routes())
	for _, r := range c.requests() {
		routes[r.pattern()] = overHTTP(r.answer)
		if r.long != nil {
			routes[r.pattern()] = r.long
		}
	}
	return routes
}

// overHTTP answers a request over HTTP.
func overHTTP(f answer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r.Context(), r.URL.Query())
		reply(w, v, err)
	}
}

// alive answers that the collector runs.
func alive(w http.ResponseWriter, _ *http.Request) {
	io.WriteString(w, "ok\n") // the client may be gone
}

// replayed is what `replay --json` prints.
type replayed struct {
	Group    string `json:"group"`
	Position string `json:"position"`
}

var errNoWork = errors.New("there are no groups of workers: the configuration has no [collector.work]")

// distributor hands out the lines; an error: nothing does.
func (c *server) distributor() (*distribute.Distributor, error) {
	if d := c.work.Load(); d != nil {
		return d, nil
	}
	return nil, errNoWork
}

// ownDistributor is the distributor of a log that is not a partition's. Where a group is in a cluster is
// more than a position in one log.
func (c *server) ownDistributor() (*distribute.Distributor, error) {
	if c.partition != nil {
		return nil, errors.New("groups of a cluster are moved and forgotten in all partitions: leave --partition out")
	}
	return c.distributor()
}

// replay moves a group to another position of the log.
func (c *server) replay(ctx context.Context, q url.Values) (any, error) {
	d, err := c.ownDistributor()
	if err != nil {
		return nil, err
	}
	at, err := d.Replay(ctx, q.Get("group"), q.Get("from"))
	return replayed{q.Get("group"), at.String()}, err
}

// forget removes a group.
func (c *server) forget(ctx context.Context, q url.Values) (any, error) {
	d, err := c.ownDistributor()
	if err != nil {
		return nil, err
	}
	return struct{}{}, d.Forget(ctx, q.Get("group"))
}

func (c *server) workers(context.Context) ([]distribute.WorkerStatus, error) {
	d, err := c.distributor()
	if err != nil {
		return nil, err
	}
	return d.Workers(), nil
}

func (c *server) groups(ctx context.Context) ([]distribute.GroupStatus, error) {
	d, err := c.distributor()
	if err != nil {
		return nil, err
	}
	return d.Groups(ctx)
}

// ready answers whether lines are accepted, and if not, why.
func (c *server) ready(w http.ResponseWriter, _ *http.Request) {
	st := c.sink.Status()
	reason, ready := st.Trouble, st.Healthy
	if stalled := c.stalled(); ready && stalled != "" {
		reason, ready = "intake is stalled: "+stalled, false
	}
	if !ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	json.NewEncoder(w).Encode(map[string]any{"ready": ready, "reason": reason})
}

func reply(w http.ResponseWriter, v any, err error) {
	if err != nil {
		code := http.StatusServiceUnavailable
		var gone *sink.GoneError
		switch {
		case errors.Is(err, distribute.ErrNoGroup), errors.Is(err, errNoWork), errors.Is(err, errNoAuthority),
			errors.Is(err, errNoRelay), errors.Is(err, errNoClusterWork):
			code = http.StatusNotFound
		case errors.Is(err, sink.ErrNoPosition), errors.As(err, &gone):
			code = http.StatusGone
		case errors.Is(err, sink.ErrNotInLog), errors.Is(err, errFilter), errors.Is(err, livetail.ErrQuery),
			errors.Is(err, sink.ErrHistogram):
			code = http.StatusBadRequest
		case errors.Is(err, sink.ErrBusy):
			code = http.StatusConflict
		}
		http.Error(w, escape.Lines(err.Error()), code)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}
