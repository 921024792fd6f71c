package nats

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"fanin/internal/natstest"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// respond answers requests for collectors as another log's collector, from the nth request on.
func respond(t *testing.T, s *natstest.Server, log wire.StreamID, from int32) (stop func()) {
	t.Helper()
	nc := s.Connect()
	var asked atomic.Int32
	if _, err := nc.Subscribe("fanin.who", func(m *nats.Msg) {
		if asked.Add(1) >= from {
			m.Respond(wire.AppendWelcome(nil, wire.Welcome{Log: log}))
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return nc.Close
}

// TestTwoCollectorsAtOnce: a collector that starts in the same moment, and one that was back first after
// the server was away, are noticed, too.
func TestTwoCollectorsAtOnce(t *testing.T) {
	s := natstest.New(t)
	m := &appendertest.Memory{Log: wire.NewStreamID()}
	n := &Input{Out: m, Welcome: m.Welcome, Agents: AgentOptions{Subjects: "fanin"}}
	log := wire.NewStreamID()
	word := "the collector of the log " + log.String()
	stop := respond(t, s, log, 2) // when n asked first, this one was not there yet
	serve(t, s, n)
	troubled(t, n, word)
	stop()
	healthy(t, n)

	greet := func() {
		t.Helper()
		if f, ok := ask(t, s.Connect(), n.Agents.Subjects.Hello("a"), "a", helloOf("a")); !ok || f.Kind != wire.KindWelcome {
			t.Errorf("no welcome: %+v", f)
		}
	}
	greet()
	stop = respond(t, s, log, 1)
	s.Stop()
	s.Start()
	troubled(t, n, word)
	// The trouble comes first; agents leave when nothing of theirs is in flight.
	waittest.UntilEqual(t, "the number of agents", 0, func() int { return len(n.Sessions.List()) })
	stop()
	healthy(t, n)
	greet()
}

// TestStreamOfAnother: agents' batches in a stream are left to the collector that has the agents' name,
// even if two collectors read the same stream. When that one is gone, the other one reads them.
func TestStreamOfAnother(t *testing.T) {
	s := natstest.New(t)
	m := &appendertest.Memory{Log: wire.NewStreamID(), Incarnation: wire.NewStreamID()}
	first := &Input{Out: m, Welcome: m.Welcome, Agents: AgentOptions{Subjects: "fanin"}, Stream: StreamOptions{Name: "LOGS", Create: true}, Plain: PlainOptions{Subjects: []string{"logs.>"}}}
	stop := serve(t, s, first)
	healthy(t, first)
	other := &appendertest.Memory{Log: wire.NewStreamID()}
	second := &Input{Out: other, Welcome: other.Welcome, Agents: AgentOptions{Subjects: "fanin"}, Stream: StreamOptions{Name: "LOGS"}, Plain: PlainOptions{Subjects: []string{"logs.>"}}}
	serve(t, s, second)
	troubled(t, second, "stream LOGS: the collector of the log "+m.Log.String())
	js := jetStream(t, s.Connect())
	publish := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			b := wire.Batch{Op: wire.OpOpen, Stream: wire.StreamID{byte(i), 1}, Epoch: 1, Source: "x"}
			if _, err := js.Publish(t.Context(), first.Agents.Subjects.Batch("a"), wire.AppendBatch(helloOf("a"), &b, 0, nil)); err != nil {
				t.Fatal(err)
			}
		}
	}
	state := func() string {
		return fmt.Sprintf("%d batches are in the one log, %d in the other", len(m.Streams()), len(other.Streams()))
	}
	publish(0, 50)
	waittest.Until(t, "50 streams in the one log", func() bool { return len(m.Streams()) >= 50 })
	if len(other.Streams()) != 0 {
		t.Error(state())
	}
	stop()
	healthy(t, second)
	publish(50, 60)
	waittest.Until(t, "10 streams in the other log", func() bool { return len(other.Streams()) >= 10 })
}
