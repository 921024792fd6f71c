package collector

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"

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
	r.end()
	if st := r.Status(); st.Lines == 0 || st.Lag != 0 {
		t.Errorf("the answer to %d lines came, and %d bytes were not answered", st.Lines, st.Lag)
	}
}
