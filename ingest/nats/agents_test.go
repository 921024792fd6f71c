package nats

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"fanin/ingest"
	"fanin/ingest/ingesttest"
	"fanin/internal/natsconn"
	"fanin/internal/natstest"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// serveAgents serves agents with a log in memory, through a stream, too.
func serveAgents(t testing.TB, s *natstest.Server) (*Input, *appendertest.Memory) {
	m := &appendertest.Memory{Log: wire.NewStreamID(), Incarnation: wire.NewStreamID()}
	n := &Input{Out: m, Welcome: m.Welcome, Agents: AgentOptions{Subjects: "fanin"}, Stream: StreamOptions{Name: "LOGS", Create: true}, Plain: PlainOptions{Subjects: []string{"logs.>"}}, Refusals: RefusedStore{Dir: filepath.Join(t.TempDir(), "refused")}}
	serve(t, s, n)
	healthy(t, n)
	return n, m
}

// ask sends an agent's message and returns the frame of the answer.
func ask(t testing.TB, nc *nats.Conn, subject, agent string, message []byte) (f wire.Frame, answered bool) {
	t.Helper()
	to := natsconn.Subjects("fanin").Answer(agent, "t."+nats.NewInbox()[7:])
	sub, err := nc.SubscribeSync(to)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	if err := nc.PublishRequest(subject, to, message); err != nil {
		t.Fatal(err)
	}
	m, err := sub.NextMsg(waittest.Limit)
	if err != nil {
		return f, false
	}
	if err := wire.NewDecoder(bytes.NewReader(m.Data)).Next(&f); err != nil {
		t.Fatal(err)
	}
	return f, true
}

func helloOf(agent string) []byte {
	return wire.AppendHello(nil, wire.Hello{Version: wire.Version, Agent: agent, Instance: wire.StreamID{1}, Run: 1, Host: agent, Software: "test"})
}

// TestHostileAgents: whatever comes on an agent's subjects, the collector answers with a fault or not
// at all, and continues.
func TestHostileAgents(t *testing.T) {
	s := natstest.New(t)
	n, m := serveAgents(t, s)
	nc := s.Connect()
	p := natsconn.Subjects("fanin")
	fault := func(what, subject, agent string, message []byte, word string) {
		t.Helper()
		f, ok := ask(t, nc, subject, agent, message)
		if !ok || f.Kind != wire.KindFault || !strings.Contains(f.Reason, word) {
			t.Errorf("%s: answered %v, kind %d, %q; want a fault with %q", what, ok, f.Kind, f.Reason, word)
		}
	}
	log := m.Log
	fault("text", p.Hello("a"), "a", []byte("GET / HTTP/1.1\r\n\r\n"), "")
	fault("nothing", p.Hello("a"), "a", nil, "EOF")
	fault("another's id", p.Hello("a"), "a", helloOf("b"), `sent the hello of "b"`)
	fault("the reserved id", p.Hello("fanin"), "fanin", helloOf("fanin"), "agent id")
	fault("an old protocol", p.Hello("a"), "a", wire.AppendHello(nil, wire.Hello{Version: 99, Agent: "a"}), "version")
	fault("another's host", p.Hello("a"), "a", wire.AppendHello(nil, wire.Hello{Version: wire.Version, Agent: "a", Host: "bank"}), `host "bank" is not the agent's id`)
	fault("no hello before", p.Log(log, "stranger"), "stranger", wire.AppendPing(helloOf("stranger"), wire.KindPing, 1), "send a hello first")
	if f, ok := ask(t, nc, p.Hello("a"), "a", helloOf("a")); !ok || f.Kind != wire.KindWelcome || f.Welcome.Log != log {
		t.Fatalf("no welcome: %+v", f)
	}
	fault("a frame that is not an agent's", p.Log(log, "a"), "a", wire.AppendDrain(wire.AppendFault(helloOf("a"), "x", 1)), "an agent may not send")
	fault("half a frame", p.Log(log, "a"), "a", append(helloOf("a"), 0x9c, 1), "")
	b := wire.Batch{Stream: wire.NewStreamID(), Epoch: 1, End: 1 << 30}
	claimed := wire.AppendBatch(helloOf("a"), &b, 0, nil)
	claimed = append(claimed[:len(claimed)-3], 0xce, 0x40, 0, 0, 0, 0xc6, 0x40, 0, 0, 0) // 1 GiB, twice
	fault("a gibibyte claimed", p.Log(log, "a"), "a", claimed, "1073741824 bytes")

	// An answer goes nowhere but to the agent's own subjects.
	spy, err := nc.SubscribeSync("elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	for _, reply := range []string{"elsewhere", "$JS.API.STREAM.DELETE.LOGS", "fanin.answer.b.x"} {
		for _, asked := range []string{p.Hello("a"), p.Log(log, "a"), p.Who()} {
			if reply == "fanin.answer.b.x" && asked == p.Who() {
				continue // the collector's log is no secret
			}
			if err := nc.PublishRequest(asked, reply, helloOf("a")); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Messages of one subject are handled in order: when these are answered, so were those before.
	for _, subject := range []string{p.Hello("a"), p.Log(log, "a"), p.Who()} {
		if _, ok := ask(t, nc, subject, "a", wire.AppendPing(helloOf("a"), wire.KindPing, 1)); !ok {
			t.Errorf("%s is not answered any more", subject)
		}
	}
	if n, _, err := spy.Pending(); n > 0 || err != nil {
		t.Errorf("%d answers went elsewhere, %v", n, err)
	}

	// In a stream, no agent waits for an answer: the message is counted, and kept beside the log.
	js := jetStream(t, nc)
	before := count(n.Metrics.rejected["protocol"])
	for _, message := range [][]byte{[]byte("text"), nil, helloOf("a"), append(helloOf("a"), 0x9c, 1), claimed, helloOf("b"), bytes.Repeat([]byte{0xff}, 1000)} {
		for _, where := range []string{"", "x.y", "..", "a.*", "a b", strings.Repeat("x", 500)} {
			msg := nats.NewMsg(p.Batch("a"))
			msg.Data = message
			msg.Header.Set(natsconn.HeaderAnswer, where)
			if _, err := js.PublishMsg(t.Context(), msg); err != nil {
				t.Fatal(err)
			}
		}
	}
	publishStored(t, nc, "logs.a", "still here")
	waitFor(t, m, n, "still here\n")
	await(t, js, 0)
	// All were acknowledged, so that all are counted by now.
	if got := count(n.Metrics.rejected["protocol"]) - before; got != 7*6 {
		t.Errorf("%d messages were rejected, want %d", got, 7*6)
	}
	kept, err := n.Refused()
	if want := 7*6 - 1; err != nil || len(kept) != want || count(n.Metrics.kept) != want { // one is answered
		t.Errorf("%d messages are kept (%v), %d counted, want %d", len(kept), err, count(n.Metrics.kept), want)
	}
	if len(kept) > 0 && (kept[0].Agent != "a" || kept[0].Subject != p.Batch("a") || kept[0].Reason == "") {
		t.Errorf("the first is described as %+v", kept[0])
	}
}

// TestTwoCollectorsOneName: agents would be torn between two logs, so the second collector does not
// serve them, and reports why. When the first one is gone, it does.
func TestTwoCollectorsOneName(t *testing.T) {
	s := natstest.New(t)
	m := &appendertest.Memory{Log: wire.NewStreamID()}
	first := &Input{Out: m, Welcome: m.Welcome, Agents: AgentOptions{Subjects: "fanin"}}
	stop := serve(t, s, first)
	healthy(t, first)
	other := &appendertest.Memory{Log: wire.NewStreamID()}
	second := &Input{Out: other, Welcome: other.Welcome, Agents: AgentOptions{Subjects: "fanin"}}
	serve(t, s, second)
	troubled(t, second, "the collector of the log "+m.Log.String())
	stop()
	healthy(t, second)
}

// TestAgentsIdentity: another instance with an agent's id is refused while the first one lives, and
// accepted when it stopped, when it fell silent, and when it is gone.
func TestAgentsIdentity(t *testing.T) {
	s := natstest.New(t)
	m := &appendertest.Memory{Log: wire.NewStreamID()}
	n := &Input{Out: m, Conn: s.Connect(), Welcome: m.Welcome, Agents: AgentOptions{Subjects: "fanin", Timeout: time.Hour}}
	n.setUp()
	r := newResponder(n)
	ended := make(chan struct{})
	go func() { r.run(); close(ended) }() // ended below
	defer func() { n.life.Stop(); <-ended }()
	healthy(t, n)
	nc := s.Connect()
	p := natsconn.Subjects("fanin")
	hello := func(instance byte, run int64) []byte {
		return wire.AppendHello(nil, wire.Hello{Version: wire.Version, Agent: "a", Instance: wire.StreamID{instance}, Run: run})
	}
	want := func(what string, message []byte, kind wire.Kind) {
		t.Helper()
		if f, ok := ask(t, nc, p.Hello("a"), "a", message); !ok || f.Kind != kind {
			t.Errorf("%s: answered %v, kind %d %q, want %d", what, ok, f.Kind, f.Reason, kind)
		}
	}
	left := func() {
		t.Helper()
		waittest.UntilEqual(t, "the number of agents", 0, func() int { return len(n.Sessions.List()) })
	}
	listening, err := nc.SubscribeSync(p.Answer("a", ">")) // as a live process does
	if err != nil {
		t.Fatal(err)
	}
	want("the first", hello(1, 1), wire.KindWelcome)
	want("a clone", hello(2, 1), wire.KindFault)
	want("a later run", hello(1, 2), wire.KindWelcome)
	want("an older run", hello(1, 1), wire.KindFault)
	for run, kind := range map[int64]wire.Kind{1: wire.KindFault, 2: wire.KindPong} {
		f, ok := ask(t, nc, p.Log(m.Log, "a"), "a", wire.AppendPing(hello(1, run), wire.KindPing, 1))
		if !ok || f.Kind != kind {
			t.Errorf("a message of run %d is answered with kind %d, want %d", run, f.Kind, kind)
		}
	}
	if err := nc.PublishRequest(p.Log(m.Log, "a"), p.Answer("a", "x"), wire.AppendDrain(hello(1, 2))); err != nil {
		t.Fatal(err)
	}
	left()
	want("another, after the first one stopped", hello(2, 1), wire.KindWelcome)
	r.removeSilent(time.Now().Add(59 * time.Minute))
	want("another, after a pause", hello(3, 1), wire.KindFault)
	r.removeSilent(time.Now().Add(2 * time.Hour))
	left()
	want("another, after silence", hello(3, 1), wire.KindWelcome)
	want("a clone of that", hello(4, 1), wire.KindFault)
	listening.Unsubscribe()
	want("another, when no client listens for the first one's answers", hello(4, 1), wire.KindWelcome)
	if list := n.Sessions.List(); len(list) != 1 || list[0].Address != "NATS" {
		t.Errorf("the sessions are %+v", list)
	}
}

// TestNamedSessions: an agent's sessions live side by side, and end one by one.
func TestNamedSessions(t *testing.T) {
	s := natstest.New(t)
	n, m := serveAgents(t, s)
	nc := s.Connect()
	p := natsconn.Subjects("fanin")
	hello := func(name string, instance byte) []byte {
		return wire.AppendHello(nil, wire.Hello{Version: wire.Version, Agent: "a", Session: name, Instance: wire.StreamID{instance}, Run: 1})
	}
	if _, err := nc.SubscribeSync(p.Answer("a", ">")); err != nil { // as live processes do
		t.Fatal(err)
	}
	names := []string{"", "one", "two"}
	for i, name := range names {
		if f, ok := ask(t, nc, p.Hello("a"), "a", hello(name, byte(i))); !ok || f.Kind != wire.KindWelcome {
			t.Fatalf("session %q is answered with %+v", name, f)
		}
	}
	if f, ok := ask(t, nc, p.Hello("a"), "a", hello("two", 9)); !ok || f.Kind != wire.KindFault {
		t.Errorf("a clone of a session is answered with %+v", f)
	}
	for i, name := range names {
		b := wire.Batch{Op: wire.OpOpen, Stream: wire.StreamID{7}, Epoch: 1, Source: "stdin"}
		if f, ok := ask(t, nc, p.Log(m.Log, "a"), "a", wire.AppendBatch(hello(name, byte(i)), &b, 0, nil)); !ok || f.Kind != wire.KindAck {
			t.Fatalf("an open of session %q is answered with %+v", name, f)
		}
		owner := (&wire.Hello{Agent: "a", Session: name}).Owner()
		if w := m.Welcome(owner); w.Listed().Count != 1 {
			t.Errorf("%q has %d streams, want 1", owner, w.Listed().Count)
		}
	}
	if err := nc.PublishRequest(p.Log(m.Log, "a"), p.Answer("a", "x"), wire.AppendDrain(hello("one", 1))); err != nil {
		t.Fatal(err)
	}
	waittest.UntilEqual(t, "the number of sessions", 2, func() int { return len(n.Sessions.List()) })
	if !n.Sessions.Has("a") || !n.Sessions.Has("a/two") {
		t.Errorf("the sessions are %+v", n.Sessions.List())
	}
}

// TestLateHandler: a message that comes after the end is not started.
func TestLateHandler(t *testing.T) {
	s := natstest.New(t)
	m := &appendertest.Memory{Log: wire.NewStreamID()}
	n := &Input{Out: m, Welcome: m.Welcome, Agents: AgentOptions{Subjects: "fanin"}}
	stop := serve(t, s, n)
	healthy(t, n)
	before := s.NumSubscriptions()
	a := newResponder(n)
	ended := make(chan struct{})
	go func() { a.run(); close(ended) }() // ended by stop
	waittest.Until(t, "the subscriptions", func() bool { return s.NumSubscriptions() >= before+3 })
	stop()
	<-ended
	late := nats.NewMsg(n.Agents.Subjects.Hello("a"))
	late.Reply = n.Agents.Subjects.Answer("a", "x")
	a.work(late, func(*nats.Msg, string) { t.Error("a message was started after the end") })
	a.busy.Wait()
}

// FuzzNATSMessages: whatever an agent's message contains, directly or in a stream, it is accepted or
// rejected, no line has another agent's name, and its memory is released.
func FuzzNATSMessages(f *testing.F) {
	b := wire.Batch{Stream: wire.StreamID{1}, Epoch: 1, End: 2, Text: []byte("x\n")}
	whole := append(wire.AppendBatch(helloOf("a"), &b, 0, b.Text), b.Text...)
	for _, m := range [][]byte{whole, whole[:len(whole)-1], helloOf("a"), helloOf("b"), wire.AppendPing(helloOf("a"), wire.KindPing, 1), wire.AppendDrain(helloOf("a")), []byte("text"), nil} {
		f.Add(m)
	}
	n := &Input{Out: &appendertest.Memory{}, Agents: AgentOptions{Subjects: "fanin"}}
	n.setUp()
	f.Cleanup(n.life.Stop)
	s := newStreamReader(n)
	f.Fuzz(func(t *testing.T, m []byte) {
		chains := make(map[wire.StreamID]*chain)
		if err := s.link(chains, message{subject: "fanin.batch.a", data: m}); err == nil {
			for id, c := range chains {
				if c.list[0].hello.Agent != "a" || c.list[0].stream.Owned(wire.StreamAgent, "a") != id {
					t.Errorf("accepted as a batch of %q, stream %s", c.list[0].hello.Agent, id)
				}
			}
		}
		if frame, err := n.openBatch(m); err == nil {
			if !isOfStream(frame.Kind) {
				t.Errorf("a frame of kind %d is accepted as a batch", frame.Kind)
			}
			n.freeText(frame.Batch.Text)
		}
		if used := n.Budget.Used(); used != 0 {
			t.Errorf("%d bytes of the budget are not released", used)
		}
	})
}

// TestEvictedAtOnce: an agent that says hello twice at once may be evicted before its first
// session is entered.
func TestEvictedAtOnce(t *testing.T) {
	var sessions ingest.Sessions
	n := &Input{Conn: natstest.New(t).Connect(), Sessions: &sessions, Welcome: func(string) wire.Welcome { return wire.Welcome{} }}
	r := newResponder(n)
	a := &remoteAgent{entered: make(chan struct{}), answers: "answers"}
	claim, err := sessions.Claim(t.Context(), wire.Hello{Agent: "a"}, address, func(reason string) { r.evict(a, reason) })
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan error)
	go func() { // ends with the first session
		_, err := sessions.Claim(t.Context(), wire.Hello{Agent: "a"}, address, nil)
		second <- err
	}()
	waittest.Until(t, "the second hello", func() bool {
		return ingesttest.Metric(t, &sessions, "fanin_rejected_connections_total", "taken_over") == 1
	})
	r.setSession(a, claim)
	if err := <-second; err != nil {
		t.Error(err)
	}
	if len(r.present) > 0 {
		t.Error("the first session is still entered")
	}
}
