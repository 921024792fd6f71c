package collector

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"fanin/ingest"
	"fanin/internal/daemon"
	"fanin/internal/escape"
	"fanin/sink"
	"fanin/sink/distribute"
)

const controlName = "control.sock"

// control is HTTP over a socket in the state directory, and over TCP where that
// is configured.
type control struct {
	servers []*http.Server
	socket  string
	own     http.Handler // of the socket
	log     *slog.Logger
}

// status is what `status --json` prints.
type status struct {
	Version  string           `json:"version"`
	Since    time.Time        `json:"since"`
	PID      int              `json:"pid"`
	Listen   []string         `json:"listen"`
	NATS     []natsStatus     `json:"nats,omitempty"`
	Sink     sink.Status      `json:"log"`
	Agents   []ingest.Session `json:"agents"`
	InFlight int64            `json:"in_flight_bytes"`
	Stalled  string           `json:"stalled,omitempty"` // why connections are not read, if that lasts
	Senders  []sink.Sender    `json:"senders"`           // by what they have in the files that are kept, since the start

	Groups []distribute.GroupStatus `json:"groups,omitempty"`
}

func (c *server) status(ctx context.Context) (status, error) {
	st := status{Version: daemon.Release, Since: c.started, PID: os.Getpid(), Sink: c.sink.Status(), Agents: c.sessions.List(), InFlight: c.room.Used(), Stalled: c.stalled(), Senders: c.sink.Senders(), NATS: c.natsStatus()}
	for _, l := range c.listeners {
		st.Listen = append(st.Listen, l.kind+" "+l.address)
	}
	var err error
	if c.work != nil {
		st.Groups, err = c.groups(ctx)
	}
	return st, err
}

func (st *status) print(w io.Writer) {
	l := &st.Sink
	health := "taking lines"
	if !l.Healthy {
		health = "NOT TAKING LINES: " + l.Trouble
	}
	if l.Healthy && st.Stalled != "" {
		health = "INTAKE IS STALLED: " + st.Stalled
	}
	escape.Fprintf(w, "%s\n%s, generation %d, %d bytes, sync %s\n", health, l.Path, l.Generation, l.Size, l.Sync)
	escape.Fprintf(w, "%d lines in %d commits since %s\n", l.Lines, l.Commits, st.Since.Format(time.RFC3339))
	for _, a := range st.Listen {
		escape.Fprintf(w, "listening %s\n", a)
	}
	for _, n := range st.NATS {
		if n.Trouble != "" {
			escape.Fprintf(w, "NATS %s IN TROUBLE: %s\n", n.URL, n.Trouble)
		}
	}
	escape.Fprintf(w, "%d streams known, %d agents connected\n", l.Streams, len(st.Agents))
	for _, a := range st.Agents {
		escape.Fprintf(w, "agent %s host=%s from %s since %s\n", a.Agent, a.Host, a.Address, a.Since.Format(time.RFC3339))
	}
	for _, x := range st.Senders {
		above := ""
		if x.AboveHalf {
			above = ", MORE THAN HALF of keep_bytes: what others wrote goes sooner"
		}
		escape.Fprintf(w, "%s has %d bytes in the files that are kept%s\n", senderName(x), x.Bytes, above)
	}
	for i := range st.Groups {
		printGroup(w, &st.Groups[i])
	}
}

func senderName(x sink.Sender) string {
	switch {
	case x.Agent != "":
		return fmt.Sprintf("agent %q", x.Agent)
	case x.Host != "":
		return fmt.Sprintf("address %q", x.Host)
	}
	return "all others together"
}

// serveControl opens the control socket, and the HTTP listener if there is one.
func (c *server) serveControl() (*control, error) {
	k := &control{socket: filepath.Join(c.settings.state(), controlName)}
	if err := fitsSocket(k.socket); err != nil {
		return nil, &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	os.Remove(k.socket) // ours: the lock on the directory says so
	own := c.handler()
	own.HandleFunc("/debug/pprof/", pprof.Index)
	own.HandleFunc("/debug/pprof/profile", pprof.Profile)
	k.own, k.log = own, c.log
	if err := k.openSocket(); err != nil {
		return nil, fmt.Errorf("open the control socket: %w", err)
	}
	if c.web == nil {
		return k, nil
	}
	ln, err := net.Listen("tcp", c.web.table.Listen)
	if err != nil {
		k.close()
		return nil, fmt.Errorf("listen on http %s: %w", c.web.table.Listen, err)
	}
	escape.Fprintf(os.Stderr, "listening http %s\n", ln.Addr())
	c.web.serve(k, ln, c.handler())
	return k, nil
}

// openSocket serves the control socket.
func (k *control) openSocket() error {
	ln, err := net.Listen("unix", k.socket)
	if err != nil {
		return err
	}
	if err := os.Chmod(k.socket, 0o660); err != nil {
		ln.Close()
		return err
	}
	k.serve(ln, &http.Server{Handler: http.NewCrossOriginProtection().Handler(k.own), ReadHeaderTimeout: time.Duration(defaultHeaderTimeout),
		IdleTimeout: time.Duration(defaultIdleTimeout), ErrorLog: slog.NewLogLogger(k.log.Handler(), slog.LevelWarn)})
	return nil
}

// keepSocket opens the control socket again after it was deleted, perhaps with
// the whole state directory.
func (c *server) keepSocket() {
	if _, err := os.Lstat(c.control.socket); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err := c.control.openSocket(); err == nil { // else the directory is missing, which the sink reports
		c.log.Warn("the control socket was deleted by another process; it is open again", "socket", c.control.socket)
	}
}

// answerTime bounds every answer but the live tail's.
const answerTime = 20 * time.Second

// waits says what an answer waits for, and why the log takes no lines if it takes none:
// most often that is the reason.
func (c *server) waits(what string) string {
	if st := c.sink.Status(); !st.Healthy {
		return what + "; the log takes no lines now: " + st.Trouble
	}
	return what
}

// answerWithin answers a request with what f says. When time is up it says what was
// waited for: what was asked may yet come about.
func answerWithin(within time.Duration, waits func() string, f func(ctx context.Context, q url.Values) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), within)
		defer cancel()
		v, err := f(ctx, r.URL.Query())
		if err != nil && ctx.Err() == context.DeadlineExceeded {
			err = fmt.Errorf("%s was not done within %v; it waits for %s; what was begun may still be done (%w)", r.URL.Path, within, waits(), err)
		}
		reply(w, v, err)
	}
}

// handler answers all that can be asked.
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
	// What the answer may have to wait for is said when it does not come in time.
	answer := func(pattern, waits string, f func(ctx context.Context, q url.Values) (any, error)) {
		routes[pattern] = answerWithin(answerTime, func() string { return c.waits(waits) }, f)
	}
	const nothing, writer, groups = "nothing in particular", "the writer of the log", "the groups of workers"
	done := struct{}{}
	answer("GET /status", groups, func(ctx context.Context, _ url.Values) (any, error) { return c.status(ctx) })
	routes["GET /streams"] = http.HandlerFunc(c.listStreams)
	answer("POST /streams/forget", writer, c.forgetStreams)
	answer("POST /streams/give", writer, c.giveStreams)
	answer("POST /rotate", writer, func(ctx context.Context, _ url.Values) (any, error) { return c.sink.Rotate(ctx) })
	answer("POST /reopen", writer, func(ctx context.Context, _ url.Values) (any, error) { return done, c.sink.Reopen(ctx) })
	answer("POST /checkpoint", writer, func(ctx context.Context, _ url.Values) (any, error) { return done, c.sink.Checkpoint(ctx) })
	answer("POST /reload", nothing, func(context.Context, url.Values) (any, error) { return c.reload() })
	answer("POST /drain", nothing, func(context.Context, url.Values) (any, error) {
		c.leaving.Do(func() { close(c.leave) })
		return done, nil
	})
	answer("GET /groups", groups, func(ctx context.Context, _ url.Values) (any, error) { return c.groups(ctx) })
	answer("GET /workers", groups, func(context.Context, url.Values) (any, error) {
		if c.work == nil {
			return nil, errNoWork
		}
		return c.work.Workers(), nil
	})
	answer("POST /replay", groups, func(ctx context.Context, q url.Values) (any, error) {
		if c.work == nil {
			return nil, errNoWork
		}
		at, err := c.work.Replay(ctx, q.Get("group"), q.Get("from"))
		return replayed{q.Get("group"), at.String()}, err
	})
	answer("POST /forget", groups, func(ctx context.Context, q url.Values) (any, error) {
		if c.work == nil {
			return nil, errNoWork
		}
		return done, c.work.Forget(ctx, q.Get("group"))
	})
	answer("GET /refused", nothing, func(context.Context, url.Values) (any, error) { return c.refusedMessages() })
	answer("POST /refused/replay", "the NATS server", func(ctx context.Context, _ url.Values) (any, error) { return c.replayRefused(ctx) })
	routes["GET /tail"] = c.tail
	routes["GET /healthz"] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	routes["GET /readyz"] = http.HandlerFunc(c.ready)
	routes["GET /metrics"] = promhttp.HandlerFor(c.metrics, promhttp.HandlerOpts{})
	return routes
}

// replayed is what `replay --json` prints.
type replayed struct {
	Group    string `json:"group"`
	Position string `json:"position"`
}

var errNoWork = errors.New("no work is handed out: the configuration has no [collector.work]")

func (c *server) groups(ctx context.Context) ([]distribute.GroupStatus, error) {
	if c.work == nil {
		return nil, errNoWork
	}
	return c.work.Groups(ctx)
}

// ready says whether lines are taken, and if not, why.
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

// stallTime is how long connections may wait for memory before that is a stall.
const stallTime = 5 * time.Second

// stalled says that connections are not read, "" while they are.
func (c *server) stalled() string {
	wait := c.room.Stalled()
	if wait < stallTime {
		return ""
	}
	return fmt.Sprintf("connections have waited %s for memory, of which %d bytes are in use, %d of them by texts that are not complete: if the disk keeps up, raise max_in_flight",
		wait.Round(time.Second), c.room.Used(), c.room.Arriving())
}

func reply(w http.ResponseWriter, v any, err error) {
	if err != nil {
		code := http.StatusServiceUnavailable
		switch {
		case errors.Is(err, distribute.ErrNoGroup), errors.Is(err, errNoWork):
			code = http.StatusNotFound
		case errors.Is(err, sink.ErrNoPosition):
			code = http.StatusGone
		case errors.Is(err, sink.ErrNoPlace), errors.Is(err, errFilter):
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

func (c *server) registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	info := prometheus.NewGauge(prometheus.GaugeOpts{Name: "fanin_build_info", Help: "1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": daemon.Release, "sync": c.settings.Collector.Log.Sync, "format": c.settings.Collector.Log.Format}})
	info.Set(1)
	if c.work != nil {
		r.MustRegister(c.work)
	}
	if c.web != nil {
		r.MustRegister(c.web)
	}
	for _, x := range c.nats {
		if x.work != nil {
			r.MustRegister(x.work)
		}
		if x.tail != nil {
			r.MustRegister(x.tail)
		}
	}
	r.MustRegister(info, c.sink, c.room, c.intake, c.tail, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// equal reports whether two configurations say the same.
func (s *settings) equal(t *settings) bool { return reflect.DeepEqual(s.Collector, t.Collector) }

var errNotRunning = errors.New("no collector is running")

// patience is how long the collector may say nothing: after answerTime it says why it has
// no answer.
const patience = answerTime + 5*time.Second

// ask asks the collector with this state directory; into may be nil.
func ask(ctx context.Context, state, method, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return askFor(ctx, state, method, path, func(answer io.Reader) error {
		b, err := io.ReadAll(io.LimitReader(answer, 64<<20))
		if err != nil {
			return noAnswer(err, filepath.Join(state, controlName), path)
		}
		if into == nil {
			return nil
		}
		return json.Unmarshal(b, into)
	})
}

// askFor asks the collector with this state directory, and has its answer read.
func askFor(ctx context.Context, state, method, path string, read func(io.Reader) error) error {
	socket := filepath.Join(state, controlName)
	client := &http.Client{Transport: &http.Transport{ResponseHeaderTimeout: patience, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, method, "http://collector"+path, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(r)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w with the state %s", errNotRunning, state)
	}
	if err != nil {
		return noAnswer(err, socket, path)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		return fmt.Errorf("the collector says: %s", escape.Lines(string(bytes.TrimSpace(b))))
	}
	return read(resp.Body)
}

// noAnswer says why the collector did not answer.
func noAnswer(err error, socket, path string) error {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return daemon.Exitf(daemon.ExitLater, "the collector did not answer to %s on %s in time: a process has the socket open and hangs, or is stopped; look at its log", path, socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("ask the collector: %w: run this as the collector's user, or as root", err)
	}
	return fmt.Errorf("ask the collector for %s: %w", path, err)
}
