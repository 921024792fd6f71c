package collector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"fanin/internal/waittest"
	"fanin/sink"
	"fanin/sink/distribute"
	"fanin/sink/distribute/protocol"
	"fanin/sink/distribute/worker"
)

// serving runs a collector until the test ends.
func serving(t *testing.T, s *settings, again func() (*settings, error)) *server {
	t.Helper()
	c, err := newServer(s, again)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.run(ctx) }() // ends by stop
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the collector ended with: %v", err)
		}
	})
	select {
	case err := <-ended:
		ended <- err
		t.Fatalf("the collector does not start: %v", err)
	case <-c.opened:
	}
	return c
}

// configured runs a collector with a configuration file, which the test may change.
func configured(t *testing.T, more string) (c *server, path string) {
	t.Helper()
	dir := t.TempDir()
	path = filepath.Join(dir, "collector.toml")
	text := fmt.Sprintf("[collector]\nlog_level = \"error\"\n[collector.log]\nsync = \"none\"\npath = %q\n"+
		"[[collector.tcp]]\nlisten = \"127.0.0.1:0\"\n%s", filepath.Join(dir, "all.log"), more)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o := &options{config: path}
	s, err := o.load()
	if err != nil {
		t.Fatal(err)
	}
	return serving(t, s, o.load), path
}

// address is where a collector listens, by kind.
func (c *server) address(t *testing.T, kind string) string {
	t.Helper()
	for _, x := range c.listeners.serving() {
		if x.kind == kind {
			return x.address
		}
	}
	t.Fatalf("it has no %s listener", kind)
	return ""
}

// send sends a line and waits until it is in the file.
func (c *server) send(t *testing.T, line string) {
	t.Helper()
	nc, err := net.Dial("tcp", c.address(t, "tcp"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	path := c.sink.Status().Path
	count := func() int {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(b), line)
	}
	before := count()
	if _, err := io.WriteString(nc, line+"\n"); err != nil {
		t.Fatal(err)
	}
	waittest.UntilEqual(t, "the line in the log", before+1, count)
}

// asked is the answer to a request over the control socket.
func (c *server) asked(t *testing.T, method, path string) string {
	t.Helper()
	var answer json.RawMessage
	if err := ask(t.Context(), c.settings.state(), method, path, &answer); err != nil {
		return "error: " + err.Error()
	}
	return string(answer)
}

// TestRequests asks everything that can be asked over the control socket, and looks at
// the answer: no request lacks a row.
func TestRequests(t *testing.T) {
	c, _ := configured(t, "[collector.work]\nlisten = \"127.0.0.1:0\"\n")
	c.send(t, "hello")
	group(t, c, "g")
	rows := []struct{ request, want string }{
		{"GET /ping", `"version":"`},
		{"GET /status", `"listen":["tcp 127.0.0.1:`},
		{"GET /streams", `[]`},
		{"POST /streams/forget", "error: the collector answered: which streams: give id, agent or older"},
		{"POST /streams/forget?agent=none", `{"streams":0}`},
		{"POST /streams/give?from=a", "error: the collector answered: which streams: give from"},
		{"POST /streams/give?from=a&to=b", `{"streams":0}`},
		{"POST /rotate", `"generation":1`},
		{"POST /reopen", `{}`},
		{"POST /checkpoint", `{}`},
		{"POST /reload", `{"outcome":"the configuration is unchanged`},
		{"GET /groups", `"group":"g"`},
		{"GET /workers", `[`},
		{"POST /replay?group=none&from=start", "error: the collector answered: "},
		{"POST /replay?group=g&from=nowhere", "not a position in a log"},
		{"POST /replay?group=g&from=start", `{"group":"g","position":"1:0"}`},
		{"POST /forget?group=none", "error: the collector answered: "},
		{"POST /forget?group=g", `{}`},
		{"GET /pki/list", "no authority yet"},
		{"POST /pki/invite?name=web-1", "no authority yet"},
		{"POST /pki/revoke?name=web-1", "no authority yet"},
		{"POST /pki/rotate", "no authority yet"},
		{"GET /refused", `[]`},
		{"POST /refused/replay", `{"messages":0}`},
		{"GET /upstream", "the configuration has no [collector.relay]"},
		{"GET /whoami", `"kind":"uid","roles":["read","work","admin"],"login":false,"session":false}`},
		{"GET /readyz", `{"ready":true,"reason":""}`},
		{"GET /metrics", "error: "}, // it is no JSON
		{"GET /healthz", "error: "},
		{"GET /tail?follow=0", "error: "},
		{"GET /histogram?step=60", `"complete":`},
		{"GET /histogram?step=1", "error: the collector answered: wrong request: "},
		{"GET /context?at=1:0&after=0", `{"lines":[{"at":"1:0","next":"1:`},
		{"GET /context?at=77:0", "error: the collector answered: no such position"},
		{"GET /download?include=hello", "error: "}, // it is no JSON
		{"GET /read?from=end", "error: "},
		{"GET /page.js", "error: "},
		{"GET /page.css", "error: "},
		{"GET /{$}", "404"}, // the pattern of the path / alone
		{"GET /none", "404"},
		{"PUT /rotate", "Method Not Allowed"},
		{"POST /drain", `{}`},
	}
	tried := make(map[string]bool)
	for _, row := range rows {
		method, path, _ := strings.Cut(row.request, " ")
		if got := c.asked(t, method, path); !strings.Contains(got, row.want) {
			t.Errorf("%s answers %s, want %s", row.request, got, row.want)
		}
		pattern, _, _ := strings.Cut(row.request, "?")
		tried[pattern] = true
	}
	for pattern := range c.routes() {
		if !tried[pattern] {
			t.Errorf("%s is not tried", pattern)
		}
	}
	select {
	case <-c.leave:
	default:
		t.Error("the collector was asked to drain and does not leave")
	}
	got := c.asked(t, "POST", "/drain")
	if got != "{}" && !strings.Contains(got, errNotRunning.Error()) && !strings.Contains(got, errEnded.Error()) {
		t.Errorf("a second drain: %s", got)
	}
}

// group makes a group that has accepted every line, with a worker that may need a token.
func group(t *testing.T, c *server, name string, token ...string) {
	t.Helper()
	done := make(chan struct{}, 100)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	w := worker.Worker{Address: c.address(t, "work"), Options: protocol.Hello{Group: name, From: "start", Token: strings.Join(token, "")},
		Handle: func(_ context.Context, d *worker.Delivery) error { done <- struct{}{}; return nil }}
	go func() { ended <- w.Run(ctx) }() // ends by stop
	<-done
	waittest.UntilEqual(t, "accepted lines", 1, func() uint64 { return onlyGroup(t, c).Accepted })
	stop()
	<-ended
}

func onlyGroup(t *testing.T, c *server) distribute.GroupStatus {
	t.Helper()
	all, err := c.groups(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatalf("%d groups, %v; want one", len(all), err)
	}
	return all[0]
}

// TestReplay: what a group has accepted is handed out again from the position that was
// asked for.
func TestReplay(t *testing.T) {
	c, _ := configured(t, "[collector.work]\nlisten = \"127.0.0.1:0\"\n")
	c.send(t, "hello")
	group(t, c, "g")
	if got, want := c.asked(t, "POST", "/replay?group=g&from=start"), `{"group":"g","position":"1:0"}`; got != want {
		t.Fatalf("replay answers %s, want %s", got, want)
	}
	// The line, and the notice of the replay.
	waittest.UntilEqual(t, "lines behind after the replay", 2, func() uint64 { return uint64(onlyGroup(t, c).LagLines) })
	got := make(chan string, 10)
	w := worker.Worker{Address: c.address(t, "work"), Options: protocol.Hello{Group: "g"},
		Handle: func(_ context.Context, d *worker.Delivery) error { got <- string(d.Text); return nil }}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go w.Run(ctx) // ends by stop
	if text := <-got; !strings.Contains(text, "hello") {
		t.Errorf("the worker got %q again", text)
	}
}

// Without [collector.work] the requests about groups say so.
func TestNoWork(t *testing.T) {
	c := &server{sink: new(sink.Sink)}
	for _, request := range []string{"GET /groups", "GET /workers", "POST /replay", "POST /forget"} {
		w := httptest.NewRecorder()
		method, path, _ := strings.Cut(request, " ")
		c.routes()[request].ServeHTTP(w, httptest.NewRequest(method, path, nil))
		if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "[collector.work]") {
			t.Errorf("%s: %d %q", request, w.Code, w.Body)
		}
	}
}

// TestReload: the command and SIGHUP apply a changed configuration and report what changed, and
// refuse one with mistakes.
func TestReload(t *testing.T) {
	c, path := configured(t, "")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ more, want string }{
		{"", "the configuration is unchanged"},
		{"max_rate = \"1MiB\"\n", "the new configuration is in force"},
		{"max_rate = \"1KiB\"\n", "the configuration has mistakes; the collector continues with the old one"},
		{"[collector.udp]\n", "there can be several: write [[collector.udp]]"},
		{"max_rate = \"1MiB\"\n", "the configuration is unchanged"},
		{"", "the new configuration is in force"},
		{"", "the configuration is unchanged"},
	} {
		if err := os.WriteFile(path, append(b, step.more...), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := c.asked(t, "POST", "/reload"); !strings.Contains(got, step.want) {
			t.Errorf("with %q reload answers %s, want %s", step.more, got, step.want)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got := c.asked(t, "POST", "/reload"); !strings.Contains(got, "no such file") {
		t.Errorf("without the file reload answers %s", got)
	}
	c.signal(t.Context(), syscall.SIGHUP) // the same, into the log
	c.send(t, "the collector goes on")
}

// A reload reads the flags again, too: they are no change.
func TestReloadWithFlags(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "collector.toml")
	if err := os.WriteFile(path, []byte("[collector.log]\nsync = \"none\"\npath = \"x\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := &options{config: path, out: filepath.Join(dir, "all.log"), listen: "127.0.0.1:0"}
	s, err := o.load()
	if err != nil {
		t.Fatal(err)
	}
	if got := serving(t, s, o.load).asked(t, "POST", "/reload"); !strings.Contains(got, "unchanged") {
		t.Errorf("reload answers %s", got)
	}
	none := &server{settings: defaults(), log: slog.New(slog.DiscardHandler)}
	if r, err := none.reload(t.Context()); err != nil || !strings.Contains(r.Outcome, "there is no configuration file") {
		t.Errorf("without a file: %v, %v", r, err)
	}
}

// A port that cannot be bound ends the start with the reason, and nothing stays open.
func TestStartFails(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for _, table := range []string{"[[collector.tcp]]", "[collector.http]", "[collector.work]"} {
		dir := t.TempDir()
		s, err := loadText(t, dir, fmt.Sprintf("[collector.log]\nsync = \"none\"\npath = %q\n[[collector.udp]]\nlisten = \"127.0.0.1:0\"\n%s\nlisten = %q\n",
			filepath.Join(dir, "all.log"), table, busy.Addr()))
		if err != nil {
			t.Fatal(err)
		}
		if err := start(s); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("%s: %v", table, err)
		}
	}
}
