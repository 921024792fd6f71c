package collector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"fanin/internal/escape"
	"fanin/sink"
	"fanin/sink/distribute"
)

// answerTime bounds every answer but the live tail's.
const answerTime = 20 * time.Second

// waits names what an answer waits for, and why the log accepts no lines if it accepts
// none: most often that is the reason.
func (c *server) waits(what string) string {
	if st := c.sink.Status(); !st.Healthy {
		return what + "; the log accepts no lines now: " + st.Trouble
	}
	return what
}

// request answers a request with a value, which is sent as JSON.
type request func(ctx context.Context, q url.Values) (any, error)

// answerWithin answers a request with the result of f. When the time is up it reports what
// the request waited for: what was asked may still happen.
func answerWithin(within time.Duration, waits func() string, f request) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), within)
		defer cancel()
		v, err := f(ctx, r.URL.Query())
		if err != nil && ctx.Err() == context.DeadlineExceeded {
			err = fmt.Errorf("%s was not done within %v; it waits for %s; it may still be done (%w)", r.URL.Path,
				within, waits(), err)
		}
		reply(w, v, err)
	}
}

// handler answers every request.
func (c *server) handler() *http.ServeMux {
	mux := http.NewServeMux()
	for pattern, h := range c.routes() {
		mux.Handle(pattern, h)
	}
	return mux
}

// routes are the handlers by method and path.
func (c *server) routes() map[string]http.Handler {
	routes := make(map[string]http.Handler)
	// waits is reported when the answer does not come in time.
	answer := func(pattern, waits string, f request) {
		routes[pattern] = answerWithin(answerTime, func() string { return c.waits(waits) }, f)
	}
	const nothing, writer, groups = "nothing in particular", "the writer of the log", "the groups of workers"
	answer("GET /status", groups, get(c.status))
	routes["GET /streams"] = http.HandlerFunc(c.listStreams)
	answer("POST /streams/forget", writer, c.forgetStreams)
	answer("POST /streams/give", writer, c.giveStreams)
	answer("POST /rotate", writer, get(c.sink.Rotate))
	answer("POST /reopen", writer, do(c.sink.Reopen))
	answer("POST /checkpoint", writer, do(c.sink.Checkpoint))
	answer("POST /reload", nothing, get(func(context.Context) (reloaded, error) { return c.reload() }))
	answer("POST /drain", nothing, do(func(context.Context) error {
		c.leaving.Do(func() { close(c.leave) })
		return nil
	}))
	answer("GET /groups", groups, get(c.groups))
	answer("GET /workers", groups, get(c.workers))
	answer("POST /replay", groups, c.replay)
	answer("POST /forget", groups, c.forget)
	answer("GET /refused", nothing, get(func(context.Context) ([]refusedMessage, error) { return c.refusedMessages() }))
	answer("POST /refused/replay", "the NATS server", get(c.replayRefused))
	routes["GET /tail"] = c.tail
	routes["GET /healthz"] = http.HandlerFunc(alive)
	routes["GET /readyz"] = http.HandlerFunc(c.ready)
	routes["GET /metrics"] = promhttp.HandlerFor(c.metrics, promhttp.HandlerOpts{})
	return routes
}

// get is a request without parameters.
func get[T any](f func(ctx context.Context) (T, error)) request {
	return func(ctx context.Context, _ url.Values) (any, error) { return f(ctx) }
}

// do is a request without parameters that answers {}.
func do(f func(ctx context.Context) error) request {
	return func(ctx context.Context, _ url.Values) (any, error) { return struct{}{}, f(ctx) }
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

// replay moves a group to another position of the log.
func (c *server) replay(ctx context.Context, q url.Values) (any, error) {
	if c.work == nil {
		return nil, errNoWork
	}
	at, err := c.work.Replay(ctx, q.Get("group"), q.Get("from"))
	return replayed{q.Get("group"), at.String()}, err
}

// forget removes a group.
func (c *server) forget(ctx context.Context, q url.Values) (any, error) {
	if c.work == nil {
		return nil, errNoWork
	}
	return struct{}{}, c.work.Forget(ctx, q.Get("group"))
}

func (c *server) workers(context.Context) ([]distribute.WorkerStatus, error) {
	if c.work == nil {
		return nil, errNoWork
	}
	return c.work.Workers(), nil
}

func (c *server) groups(ctx context.Context) ([]distribute.GroupStatus, error) {
	if c.work == nil {
		return nil, errNoWork
	}
	return c.work.Groups(ctx)
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
		switch {
		case errors.Is(err, distribute.ErrNoGroup), errors.Is(err, errNoWork):
			code = http.StatusNotFound
		case errors.Is(err, sink.ErrNoPosition):
			code = http.StatusGone
		case errors.Is(err, sink.ErrNotInLog), errors.Is(err, errFilter):
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
