package collector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/pprof"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"fanin/internal/access"
	"fanin/internal/cluster"
	"fanin/internal/daemon"
	"fanin/sink/merge"
)

// serveRequests answers on the control socket, and over HTTP if that is configured.
func (c *member) serveRequests() error {
	k := &control{socket: filepath.Join(c.settings.state(), controlName), log: c.log}
	if err := fitsSocket(k.socket); err != nil {
		return &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	os.Remove(k.socket) // it is ours: we hold the lock on the directory
	own := c.handler()
	own.HandleFunc("/debug/pprof/", pprof.Index)
	own.HandleFunc("/debug/pprof/profile", pprof.Profile)
	k.own = ownerOnly(own)
	if err := k.openSocket(); err != nil {
		return fmt.Errorf("open the control socket: %w", err)
	}
	c.control = k
	if t := c.settings.Collector.HTTP; t != nil {
		return c.openHTTP(t)
	}
	return nil
}

// handler answers every request to a member.
func (c *member) handler() *http.ServeMux {
	mux := http.NewServeMux()
	reads := &memberReads{parts: c.parts, logs: localLogs{settings: c.settings},
		ended: make(map[int]*merge.Server)}
	mux.Handle("GET /read", reads)
	for pattern, f := range map[string]answer{
		"GET /cluster": get(c.clusterStatus), "GET /status": get(c.clusterStatus), "GET /ping": get(c.ping),
		"GET /groups": get(c.groups), "GET /workers": get(c.workers), "POST /replay": c.replay,
		"POST /forget":    c.forget,
		"GET /partitions": get(reads.list), "POST /cluster/move": c.move,
		"POST /cluster/recover": c.recoverPartition, "POST /drain": do(c.askToDrain),
	} {
		mux.Handle(pattern, overHTTP(within(answerTime, pattern, func() string { return "the NATS server" }, f)))
	}
	mux.HandleFunc("GET /healthz", alive)
	mux.HandleFunc("GET /readyz", c.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(c.gatherer(), promhttp.HandlerOpts{}))
	return mux
}

func (c *member) clusterStatus(ctx context.Context) (cluster.Status, error) {
	return c.Status(ctx), nil
}

func (c *member) ping(context.Context) (pong, error) { return pong{daemon.Release, c.ID}, nil }

// askToDrain ends the collector.
func (c *member) askToDrain(ctx context.Context) error {
	c.log.Info("was told to stop", "by", author(access.From(ctx)))
	c.leaving.Do(func() { close(c.leave) })
	return nil
}

// move moves a partition.
func (c *member) move(ctx context.Context, q url.Values) (any, error) {
	p, err := strconv.Atoi(q.Get("partition"))
	if err != nil {
		return nil, fmt.Errorf("partition is %q; want a number", q.Get("partition"))
	}
	err = c.Move(ctx, p, q.Get("to"))
	c.log.Info("was told to move a partition", "partition", p, "to", q.Get("to"), "by", author(access.From(ctx)),
		"error", err)
	return struct{}{}, err
}

// ready answers whether the member is in touch with its cluster, and all its logs take lines.
func (c *member) ready(w http.ResponseWriter, _ *http.Request) {
	reason := c.Trouble()
	for p, x := range c.parts() {
		if !x.isOpen() {
			continue
		}
		if st := x.sink.Status(); !st.Healthy {
			reason = fmt.Sprintf("partition %d: %s", p, st.Trouble)
		}
	}
	if reason != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	json.NewEncoder(w).Encode(map[string]any{"ready": reason == "", "reason": reason})
}

// isOpen reports whether a server has opened everything.
func (c *server) isOpen() bool {
	select {
	case <-c.opened:
		return true
	default:
		return false
	}
}

// gatherer has the metrics of the member, and those of each partition with its number as a label.
func (c *member) gatherer() prometheus.Gatherer {
	own := prometheus.NewRegistry()
	own.MustRegister(c.Member, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		all := prometheus.Gatherers{own}
		for p, x := range c.parts() {
			if x.isOpen() {
				all = append(all, labelled{x.metrics, strconv.Itoa(p)})
			}
		}
		return all.Gather()
	})
}

// labelled adds the label of a partition to metrics.
type labelled struct {
	from      prometheus.Gatherer
	partition string
}

// Gather implements prometheus.Gatherer.
func (l labelled) Gather() ([]*dto.MetricFamily, error) {
	families, err := l.from.Gather()
	name := "partition"
	for _, f := range families {
		for _, m := range f.Metric {
			m.Label = append(m.Label, &dto.LabelPair{Name: &name, Value: &l.partition})
		}
	}
	return families, err
}

// clusterHTTP is a member's HTTP over TCP.
type clusterHTTP struct {
	*web
	answering *webServer
}

// openHTTP answers over HTTP.
func (c *member) openHTTP(t *httpTable) error {
	x, err := newWeb(t, defaultHTTPConns, c.log, &c.gate)
	if err != nil {
		return &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	x.access, x.id = c.access, func() string { return c.ID }
	c.access.OpenKey(filepath.Join(c.settings.state(), sessionKeyName), c.log)
	ln, err := net.Listen("tcp", t.Listen)
	if err != nil {
		return fmt.Errorf("listen on http %s: %w", t.Listen, err)
	}
	mux := c.handler()
	x.handleLogin(mux)
	c.http = &clusterHTTP{x, &webServer{x.server(mux), x.listener(ln)}}
	go c.http.answering.serve() // ends by close
	return nil
}

func (x *clusterHTTP) close() { x.answering.close() }

// tenuresName is the file with the tenures of a partition in the state of its log.
const tenuresName = "tenures.json"

// saveTenures writes the tenures of a partition beside the log that this member has of it, so that
// the log can be read without the NATS server.
func (c *member) saveTenures(p int, list []cluster.Tenure) {
	dir := filepath.Join(c.settings.state(), strconv.Itoa(p))
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err := writeJSON(filepath.Join(dir, tenuresName), list); err != nil {
		c.log.Warn("cannot write the tenures of a partition beside its log; the cluster's bucket has them",
			"partition", p, "error", err)
	}
}
