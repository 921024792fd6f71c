package collector

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanin/internal/escape"
)

// reloads are the reloads of a collector: one at a time.
type reloads struct {
	again func() (*settings, error) // reads the configuration again
	level *slog.LevelVar

	one     chan struct{} // holds an element while a reload is under way
	ctx     context.Context
	end     context.CancelFunc // by stop
	running sync.WaitGroup     // of reloads
	leaving sync.WaitGroup     // of listeners that a reload ended, and that have lines or connections
	removed []*listener        // of these, those that nothing replaces, since the last reload

	mu      sync.Mutex
	inForce *settings
	loaded  time.Time
	failed  string // what was wrong with the last reload; "": nothing

	failures   prometheus.Counter
	successful prometheus.Gauge
	succeeded  prometheus.Gauge
}

func newReloads(s *settings, again func() (*settings, error), level *slog.LevelVar) *reloads {
	r := &reloads{again: again, level: level, one: make(chan struct{}, 1), inForce: s,
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "fanin_config_reload_failures_total",
			Help: "Reloads that changed nothing, because the configuration could not be used."}),
		successful: prometheus.NewGauge(prometheus.GaugeOpts{Name: "fanin_config_last_reload_successful",
			Help: "Whether the configuration file was taken when it was read last: 1 or 0."}),
		succeeded: prometheus.NewGauge(prometheus.GaugeOpts{Name: "fanin_config_last_reload_success_timestamp_seconds",
			Help: "When the configuration in force was read, in seconds since 1970."})}
	r.ctx, r.end = context.WithCancel(context.Background())
	r.success(s)
	return r
}

// Describe sends nothing: what is collected describes itself.
func (r *reloads) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics of reloads.
func (r *reloads) Collect(out chan<- prometheus.Metric) {
	out <- r.failures
	out <- r.successful
	out <- r.succeeded
}

var errReloading = errors.New("another reload is under way: try again")

// begin begins a reload; end ends it.
func (r *reloads) begin(ctx context.Context) (end func(), err error) {
	select {
	case r.one <- struct{}{}:
		if r.ctx.Err() == nil {
			return sync.OnceFunc(func() { <-r.one }), nil
		}
		<-r.one
	case <-r.ctx.Done():
	case <-ctx.Done():
		return nil, errReloading
	}
	return nil, errors.New("the collector is stopping")
}

// stop ends a reload that is under way, and allows no other. It returns how long a stop may take.
func (r *reloads) stop() time.Duration {
	r.end()
	r.one <- struct{}{}
	r.running.Wait()
	return time.Duration(r.now().Collector.DrainTimeout)
}

// now are the settings in force.
func (r *reloads) now() *settings {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inForce
}

// success notes that settings are in force.
func (r *reloads) success(s *settings) {
	now := time.Now()
	r.successful.Set(1)
	r.succeeded.Set(float64(now.UnixMilli()) / 1000)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inForce, r.loaded, r.failed = s, now, ""
}

// failure notes that a reload has changed nothing.
func (r *reloads) failure(err error) {
	r.failures.Inc()
	r.successful.Set(0)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed, _, _ = strings.Cut(err.Error(), "\n") // the log has the rest
}

// configStatus is the configuration in the status.
type configStatus struct {
	File   string    `json:"file,omitempty"`
	Loaded time.Time `json:"loaded"`           // when what is in force was read
	Failed string    `json:"failed,omitempty"` // why the last reload changed nothing
}

func (r *reloads) status() configStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	return configStatus{r.inForce.file.Path, r.loaded, r.failed}
}

func (s *configStatus) print(w io.Writer) {
	if s.File == "" {
		return
	}
	escape.Fprintf(w, "configuration %s, read %s\n", s.File, s.Loaded.Format(time.RFC3339))
	if s.Failed != "" {
		escape.Fprintf(w, "THE LAST RELOAD CHANGED NOTHING: %s\n", s.Failed)
	}
}
