package sink

import (
	"context"
	"testing"
)

// The streams of an agent's sessions count for the agent, are selected by its id, and each
// session is welcomed with its own ones alone.
func TestStreamsOfSessions(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone, Limits: Limits{StreamsPerAgent: 4}})
	for i, owner := range []string{"a", "a/one", "a/one", "a/two"} {
		if err := begins(s, owner, "", i); err != nil {
			t.Fatal(err)
		}
	}
	refusedBy(t, s, limitAgent, begins(s, "a/three", "", 4))
	if w := welcomed(s, "a/one"); len(w.Streams) != 2 {
		t.Errorf("a session is welcomed with %d streams, want 2", len(w.Streams))
	}
	if w := welcomed(s, "a"); len(w.Streams) != 1 {
		t.Errorf("the agent's own session is welcomed with %d streams, want 1", len(w.Streams))
	}
	idle := func(string) bool { return false }
	if n, err := s.Forget(context.Background(), StreamFilter{Agent: "a/one"}, idle); n != 2 || err != nil {
		t.Errorf("forgot %d streams of a session, %v; want 2", n, err)
	}
	if n, err := s.Forget(context.Background(), StreamFilter{Agent: "a"}, idle); n != 2 || err != nil {
		t.Errorf("forgot %d streams of the agent, %v; want 2", n, err)
	}
	if left := s.view.catalog.senders.agents; len(left) != 0 {
		t.Errorf("still counted by agent: %v", left)
	}
}
