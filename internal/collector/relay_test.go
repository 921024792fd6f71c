package collector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanin/internal/daemon"
	"fanin/internal/wire"
	"fanin/sink"
	"fanin/sink/relay"
)

// lateShipper answers a batch of lines only when the relay is told to end, while it is connected.
type lateShipper struct {
	connected chan context.Context // of one: that of Run
	began     chan struct{}        // lines are on their way
}

func (*lateShipper) Trouble() string { return "" }

func (s *lateShipper) Run(ctx context.Context) error {
	s.connected <- ctx
	<-ctx.Done()
	return ctx.Err()
}

func (s *lateShipper) Append(ctx context.Context, b wire.Batch) error {
	if b.Op != wire.OpData || ctx.Err() != nil {
		return ctx.Err()
	}
	close(s.began)
	<-ctx.Done()
	return (<-s.connected).Err()
}

// Without a collector that runs, verify --upstream verifies the log, and says that the upstream was not asked.
func TestVerifyUpstreamUnreachable(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "collector.toml")
	path := filepath.Join(dir, "all.log")
	if err := os.WriteFile(config, fmt.Appendf(nil, "[collector.log]\npath = %q\n[[collector.tcp]]\nlisten = \"127.0.0.1:0\"\n"+
		"[collector.relay]\nto = [\"tcp://127.0.0.1:1\"]\n", path), 0o600); err != nil {
		t.Fatal(err)
	}
	k := &sink.Sink{Path: path, State: filepath.Join(dir, ".all.log.fanin"), Sync: "none"}
	if err := k.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := k.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	c := Command()
	c.SetArgs([]string{"verify", "--upstream", "--config", config})
	c.SetOut(&out)
	c.SetErr(&out)
	err := c.Execute()
	var exit *daemon.Exit
	if !errors.As(err, &exit) || exit.Code != daemon.ExitUnreachable || !strings.Contains(out.String(), "PROBLEM upstream") ||
		!strings.Contains(out.String(), "all.log: ok") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// When the collector stops, the answer to what is on its way to the upstream may still come.
func TestRelayEndsBeforeItsConnection(t *testing.T) {
	dir := t.TempDir()
	k := &sink.Sink{Path: filepath.Join(dir, "all.log"), State: filepath.Join(dir, "state"), Sync: "none"}
	r := &relayer{Relay: relay.New(k, k.State, "tcp://192.0.2.1:1", slog.New(slog.DiscardHandler))}
	if err := k.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer k.Close(t.Context())
	if err := k.Append(t.Context(), wire.Batch{Host: "web", Source: "app", Text: []byte("one\ntwo\n")}); err != nil {
		t.Fatal(err)
	}
	s := &lateShipper{make(chan context.Context, 1), make(chan struct{})}
	r.carry(t.Context(), s)
	up := wire.NewStreamID()
	r.Welcomed(wire.Welcome{Log: up, About: wire.About{Way: wire.Way{Known: true, Logs: []wire.StreamID{up}}}}, wire.MaxText)
	<-s.began
	x, err := r.Verify(t.Context())
	var exit *daemon.Exit
	if err != nil || !errors.As(upstreamError(&x), &exit) || exit.Code != daemon.ExitLater {
		t.Errorf("lines are on their way: %+v, %v, exit code %+v", x, err, exit)
	}
	r.end()
	if st := r.Status(); st.Lines == 0 || st.Lag != 0 {
		t.Errorf("the answer to %d lines came, and %d bytes were not answered", st.Lines, st.Lag)
	}
}
