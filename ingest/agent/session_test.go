package agent_test

import (
	"crypto/tls"
	"fmt"
	"slices"
	"sync"
	"testing"

	"fanin/ingest"
	"fanin/ingest/ingesttest"
	"fanin/internal/certs/certstest"
	"fanin/internal/wire"
)

func sessionHello(name string, instance wire.StreamID, run int64) []byte {
	return wire.AppendHello(nil, wire.Hello{Version: wire.Version, Agent: "a", Session: name, Instance: instance, Run: run})
}

func greetSession(t *testing.T, addr, name string, instance wire.StreamID, run int64) *ingesttest.Client {
	t.Helper()
	c := ingesttest.NewClient(t, ingesttest.Dial(t, addr))
	c.Send(sessionHello(name, instance, run))
	c.Want(wire.KindWelcome)
	return c
}

// Beside its own session an agent may have named ones, each an instance of its own. Each
// is welcomed with its own streams, and a stream's id in one is another stream in another.
func TestNamedSessions(t *testing.T) {
	k := ingesttest.NewRecorder()
	var mu sync.Mutex
	var welcomed []string
	s := &ingesttest.TCP{Out: k, Welcome: func(owner string) wire.Welcome {
		mu.Lock()
		defer mu.Unlock()
		welcomed = append(welcomed, owner)
		return ingesttest.Welcome(owner)
	}}
	addr := ingesttest.Start(t, s)
	all := map[string]*ingesttest.Client{"a": ingesttest.Greet(t, addr, "a", ingesttest.InstanceA, 1)}
	for i := range 20 {
		name := fmt.Sprintf("run%02d", i)
		all["a/"+name] = greetSession(t, addr, name, wire.StreamID{3, byte(i)}, 1)
	}
	sent := 0
	for owner, c := range all {
		line := "a line of " + owner + "\n"
		c.Send(ingesttest.Data(7, 0, line))
		c.Want(wire.KindAck)
		sent += len(line)
	}
	_, batches := k.Wait(t, func(text string, _ []wire.Batch) bool { return len(text) == sent })
	for _, b := range batches {
		if want := "a line of " + b.Agent + "\n"; string(b.Text) != want || all[b.Agent] == nil {
			t.Errorf("%q came in the name of %q", b.Text, b.Agent)
		}
		if b.Agent != "a" && b.Host != "a" {
			t.Errorf("the host of a session of agent a is %q", b.Host)
		}
		delete(all, b.Agent)
	}
	list := s.Sessions.List()
	if len(list) != 21 || list[0].Name != "" || list[20].Name != "run19" || list[20].Agent != "a" {
		t.Errorf("sessions %+v", list)
	}
	if n := ingesttest.Metric(t, s.Sessions, "fanin_connected_agents", ""); n != 1 {
		t.Errorf("%d agents are connected, want 1", n)
	}
	if n := ingesttest.Metric(t, s.Sessions, "fanin_agent_sessions", ""); n != 21 {
		t.Errorf("%d sessions, want 21", n)
	}
	if !s.Sessions.Has("a/run03") || s.Sessions.Has("a/run20") || len(all) > 0 || !slices.Contains(welcomed, "a/run03") {
		t.Errorf("missing %v; welcomed %v", all, welcomed)
	}
}

// A name is of one session at a time: a clone of its state is refused, and a later run
// takes it over. The agent's own session is not concerned.
func TestTakeOverOfSession(t *testing.T) {
	s := &ingesttest.TCP{Out: ingesttest.NewRecorder(), Welcome: ingesttest.Welcome}
	addr := ingesttest.Start(t, s)
	own := ingesttest.Greet(t, addr, "a", ingesttest.InstanceA, 9)
	first := greetSession(t, addr, "run", ingesttest.InstanceB, 1)
	for name, hello := range map[string][]byte{
		"a clone of the agent": ingesttest.Hello("a", ingesttest.InstanceB, 10),
		"a clone of a session": sessionHello("run", ingesttest.InstanceA, 10),
		"an older run":         sessionHello("run", ingesttest.InstanceB, 0),
	} {
		t.Run(name, func(t *testing.T) {
			c := ingesttest.NewClient(t, ingesttest.Dial(t, addr))
			c.Send(hello)
			c.WantFault("agent")
		})
	}
	greetSession(t, addr, "run", ingesttest.InstanceB, 2)
	first.WantFault("again", "a/run")
	own.Send(wire.AppendPing(nil, wire.KindPing, 1))
	own.Want(wire.KindPong)
}

func TestSessionNames(t *testing.T) {
	addr := ingesttest.Start(t, &ingesttest.TCP{Out: ingesttest.NewRecorder(), Welcome: ingesttest.Welcome})
	long := "x123456789x123456789x123456789x123456789x123456789x123456789x1234"
	for name, good := range map[string]bool{"run": true, long[:64]: true, long: false, "a/b": false, "a b": false, "/": false, "fanin": false} {
		c := ingesttest.NewClient(t, ingesttest.Dial(t, addr))
		c.Send(sessionHello(name, ingesttest.InstanceA, 1))
		if good {
			c.Want(wire.KindWelcome)
		} else {
			c.WantFault()
		}
	}
}

// The number of sessions of one agent is bounded; another agent's are not concerned.
func TestManySessions(t *testing.T) {
	var s ingest.Sessions
	claim := func(agent, name string) (*ingest.Claim, error) {
		return s.Claim(t.Context(), wire.Hello{Agent: agent, Session: name}, "here", nil)
	}
	first, err := claim("a", "")
	for i := 1; i < 1000 && err == nil; i++ {
		_, err = claim("a", fmt.Sprint(i))
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := claim("a", "more"); err == nil {
		t.Error("an agent has more than 1000 sessions")
	}
	if _, err := claim("b", ""); err != nil {
		t.Error(err)
	}
	s.Release(first)
	if _, err := claim("a", "more"); err != nil {
		t.Errorf("after one has ended: %v", err)
	}
}

// A certificate is of an agent, and so of all its sessions.
func TestSessionWithCertificate(t *testing.T) {
	ca := certstest.New(t)
	addr := ingesttest.Start(t, &ingesttest.TCP{Out: ingesttest.NewRecorder(), Welcome: ingesttest.Welcome, RequireCert: true,
		TLS: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{ca.Sign("collector")}, ClientCAs: ca.Pool, ClientAuth: tls.RequireAndVerifyClientCert}})
	for of, kind := range map[string]wire.Kind{"a": wire.KindWelcome, "b": wire.KindFault} {
		config := &tls.Config{RootCAs: ca.Pool, ServerName: "127.0.0.1", Certificates: []tls.Certificate{ca.Sign(of)}}
		c := ingesttest.NewClient(t, tls.Client(ingesttest.Dial(t, addr), config))
		c.Send(sessionHello("run", ingesttest.InstanceA, 1))
		c.Want(kind)
	}
}
