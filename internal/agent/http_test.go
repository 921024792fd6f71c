package agent

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"fanin/internal/config"
	"fanin/internal/waittest"
)

// serving runs an agent that follows a file and answers over HTTP.
func serving(t *testing.T, to string, table httpTable, lines string) *agent {
	t.Helper()
	path := write(t, filepath.Join(t.TempDir(), "a.log"), lines)
	s, err := (&options{to: to, id: "web-1", state: t.TempDir()}).load([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	table.Listen = "127.0.0.1:0"
	s.Agent.HTTP = &table
	a, err := newAgent(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.serveHTTP(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.follow(ctx) }() // ends by stop
	t.Cleanup(func() {
		stop()
		<-done
		a.closeHTTP()
		a.lock.Close()
	})
	return a
}

// get sends a request under a name for the agent.
func (a *agent) get(t *testing.T, method, path, host string) (code int, body string) {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+a.web.Addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if host != "" {
		r.Host = host
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// parsed reads metrics as Prometheus does.
func (a *agent) parsed(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	code, text := a.get(t, "GET", "/metrics", "")
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(strings.NewReader(text))
	if code != http.StatusOK || err != nil {
		t.Fatalf("%d, %v: %s", code, err, text)
	}
	return families
}

// value returns the value of a metric with one sample, or of the one with a label's value.
func value(f *dto.MetricFamily, label string) float64 {
	for _, m := range f.GetMetric() {
		ok := label == ""
		for _, l := range m.GetLabel() {
			ok = ok || l.GetValue() == label
		}
		if ok {
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return -1
}

// TestHTTPConnected: while lines reach the collector, the agent is ready, and Prometheus can
// read what it counts.
func TestHTTPConnected(t *testing.T) {
	m, addr := collect(t)
	a := serving(t, addr, httpTable{}, "one\ntwo\nthr")
	waittest.UntilEqual(t, "lines", "one\ntwo\n", func() string { return texts(m) })
	waittest.Until(t, "ready", func() bool { code, _ := a.get(t, "GET", "/readyz", ""); return code == http.StatusOK })
	if code, text := a.get(t, "GET", "/healthz", "any.example"); code != http.StatusOK || text != "ok\n" {
		t.Errorf("/healthz: %d %q", code, text)
	}
	var all map[string]*dto.MetricFamily
	waittest.Until(t, "all lines acknowledged", func() bool {
		all = a.parsed(t)
		return value(all["fanin_agent_lines_total"], "") == 2 && value(all["fanin_agent_lag_seconds"], "file") == 0
	})
	for name, want := range map[string]float64{"fanin_agent_connected": 1, "fanin_agent_bytes_total": 8, "fanin_agent_missing_files": 0, "fanin_agent_build_info": 1} {
		if got := value(all[name], ""); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if got := value(all["fanin_agent_lag_bytes"], "file"); got != 3 {
		t.Errorf("%v bytes are behind, want those of the unfinished line", got)
	}
	if got := value(all["fanin_agent_sources"], current); got != 1 {
		t.Errorf("%v files are current", got)
	}
	for name, f := range all {
		if !strings.HasPrefix(name, "fanin_agent_") || f.GetHelp() == "" || len(f.GetMetric()) > 9 {
			t.Errorf("the metric %s: %v", name, f)
		}
	}
}

// TestHTTPLost: without a connection the agent is healthy and not ready, with the reason.
func TestHTTPLost(t *testing.T) {
	a := serving(t, "tcp://127.0.0.1:1", httpTable{}, "one\n")
	var ready struct {
		Ready  bool
		Reason string
	}
	waittest.Until(t, "the reason", func() bool {
		code, text := a.get(t, "GET", "/readyz", "")
		if err := json.Unmarshal([]byte(text), &ready); err != nil {
			t.Fatal(err)
		}
		return code == http.StatusServiceUnavailable && !ready.Ready && strings.Contains(ready.Reason, "refused")
	})
	if code, _ := a.get(t, "GET", "/healthz", ""); code != http.StatusOK {
		t.Errorf("/healthz: %d", code)
	}
	if got := value(a.parsed(t)["fanin_agent_connected"], ""); got != 0 {
		t.Errorf("connected: %v", got)
	}
	a.alive.Store(time.Now().Add(-2 * deadAfter).UnixNano())
	if code, text := a.get(t, "GET", "/healthz", ""); code == http.StatusOK && time.Since(time.Unix(0, a.alive.Load())) > deadAfter {
		t.Errorf("/healthz of an agent that hangs: %d %q", code, text)
	}
}

// TestHTTPRefuses: a page of another site reads nothing, and nothing can be changed.
func TestHTTPRefuses(t *testing.T) {
	a := serving(t, "tcp://127.0.0.1:1", httpTable{Hosts: []string{"agent.example"}}, "")
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		method, path, host string
		want               int
	}{
		{"GET", "/metrics", "evil.example", 403}, {"GET", "/metrics", "localhost:80", 200}, {"GET", "/metrics", "Agent.Example.", 200},
		{"GET", "/metrics", "[::1]:1", 200}, {"GET", "/metrics", name, 200}, {"POST", "/metrics", "", 405}, {"DELETE", "/healthz", "", 405},
		{"GET", "/", "", 404}, {"GET", "/status", "", 404}, {"GET", "/debug/pprof/", "", 404}, {"HEAD", "/healthz", "", 200},
	} {
		if code, text := a.get(t, x.method, x.path, x.host); code != x.want {
			t.Errorf("%s %s of %q: %d %s, want %d", x.method, x.path, x.host, code, text, x.want)
		}
	}
}

// TestHTTPSlow: a client that sends no request is disconnected, and others are answered
// although all connections were in use.
func TestHTTPSlow(t *testing.T) {
	most, wait := 2, config.Duration(100*time.Millisecond)
	a := serving(t, "tcp://127.0.0.1:1", httpTable{MaxConns: &most, HeaderTimeout: &wait, IdleTimeout: &wait}, "")
	for range 4 {
		c, err := net.Dial("tcp", a.web.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHos"); err != nil {
			t.Fatal(err)
		}
		defer func() {
			c.SetReadDeadline(time.Now().Add(20 * time.Second))
			if _, err := io.ReadAll(c); err != nil {
				t.Errorf("a silent connection stays: %v", err)
			}
		}()
	}
	if code, _ := a.get(t, "GET", "/healthz", ""); code != http.StatusOK {
		t.Errorf("/healthz: %d", code)
	}
}

// TestHTTPTable: mistakes in [agent.http] are reported with their lines.
func TestHTTPTable(t *testing.T) {
	for text, want := range map[string]string{
		`listen = "6792"`:        `listen is "6792"; want host:port`,
		`listen = "127.0.0.1:"`:  `want host:port`,
		`max_conns = 0`:          `max_conns is 0; want 1 to 1000`,
		`header_timeout = "off"`: `header_timeout`,
		`idle_timeout = "1us"`:   `idle_timeout`,
		`control = true`:         `control`,
		``:                       ``,
		`listen = "[::1]:0"`:     ``,
	} {
		path := write(t, filepath.Join(t.TempDir(), "agent.toml"), "[agent]\nto = [\"tcp://127.0.0.1:1\"]\n[[agent.file]]\npaths = [\"/var/log/a.log\"]\n[agent.http]\n"+text+"\n")
		s, err := (&options{config: path, state: t.TempDir()}).load(nil)
		if want == "" && (err != nil || s.Agent.HTTP == nil) || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "agent.toml:6")) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	s := waiting(t, t.TempDir())
	s.Agent.HTTP = &httpTable{Listen: "192.0.2.1:1"}
	a := &agent{settings: s}
	if err := a.serveHTTP(); err == nil || !strings.Contains(err.Error(), "listen on http 192.0.2.1:1") {
		t.Errorf("an address of another machine: %v", err)
	}
}
