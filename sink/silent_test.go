package sink

import (
	"testing"
	"time"

	"fanin/internal/wire"
)

// An agent is silent that has streams, and neither a session nor a line since some time. The sessions
// of its pipes, which end, are none of its own.
func TestSilent(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone})
	for n, owner := range []string{"connected", "away", "away", "away/pipe"} {
		together(t, s, wire.Batch{Op: wire.OpOpen, Stream: streamID(n), Epoch: 1, Agent: owner, Host: "h", Source: "app", Input: "agent"})
	}
	connected := func(agent string) bool { return agent == "connected" }
	if n := s.Silent(time.Now().Add(time.Hour), connected); n != 1 {
		t.Errorf("%d agents are silent, want 1", n)
	}
	if n := s.Silent(time.Now().Add(-time.Hour), connected); n != 0 {
		t.Errorf("%d agents are silent, and all were heard in the last hour", n)
	}
	if _, err := s.Forget(t.Context(), StreamFilter{Agent: "away"}, connected); err != nil {
		t.Fatal(err)
	}
	if n := s.Silent(time.Now().Add(time.Hour), connected); n != 0 {
		t.Errorf("%d agents are silent, and the only one was forgotten", n)
	}
}
