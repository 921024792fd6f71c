package ingest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fanin/internal/wire"
)

// Sessions knows who is connected: at most one connection for each agent id.
// All listeners of a process share one. Its zero value is ready.
type Sessions struct {
	mu      sync.Mutex
	byAgent map[string]*session
	busy    map[wire.StreamID]struct{} // streams with a frame whose outcome is open, by wire.StreamID.Owned
}

// Session is an agent that is connected, for people to read.
type Session struct {
	Agent    string    `json:"agent"`
	Host     string    `json:"host"`
	Instance string    `json:"instance"`
	Run      int64     `json:"run"`
	Software string    `json:"software,omitempty"`
	Address  string    `json:"address"`
	Since    time.Time `json:"since"`
	Frames   int64     `json:"frames"`
}

type session struct {
	hello   wire.Hello
	address string
	since   time.Time
	frames  atomic.Int64
	evict   func(reason string) // ends the session's connection, without waiting
	done    chan struct{}       // closed when nothing of the session is in flight any more
}

// claim makes agent id hello.Agent this connection's. The same instance takes
// over from its older connection, once nothing of that is in flight: so a
// stream has one Append at a time, and the welcome's watermarks are the last.
// Another instance is refused while the first lives.
func (s *Sessions) claim(ctx context.Context, hello wire.Hello, address string, evict func(string)) (*session, error) {
	n := &session{hello: hello, address: address, since: time.Now(), evict: evict, done: make(chan struct{})}
	for {
		old, err := s.enter(n)
		if old == nil {
			return n, err
		}
		old.evict(fmt.Sprintf("agent %q connected again from %s", hello.Agent, address))
		select {
		case <-old.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("agent %q: its older connection from %s is still waiting for outcomes: come back later", hello.Agent, old.address)
		}
	}
}

// enter registers n, or returns the older session it has to wait for, or says why neither.
func (s *Sessions) enter(n *session) (older *session, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.byAgent[n.hello.Agent]
	switch {
	case old == nil:
		if s.byAgent == nil {
			s.byAgent = make(map[string]*session)
		}
		s.byAgent[n.hello.Agent] = n
		return nil, nil
	case old.hello.Instance != n.hello.Instance:
		return nil, fmt.Errorf("agent id %q is in use: %s has been connected since %s, and another instance with the same id now comes from %s; give one of them an id of its own",
			n.hello.Agent, old.address, old.since.UTC().Format(time.RFC3339), n.address)
	case n.hello.Run < old.hello.Run:
		return nil, fmt.Errorf("agent %q: a newer start of it is connected from %s; this older one comes from %s", n.hello.Agent, old.address, n.address)
	}
	return old, nil
}

// leave ends a session of which nothing is in flight.
func (s *Sessions) leave(old *session) {
	s.mu.Lock()
	delete(s.byAgent, old.hello.Agent)
	s.mu.Unlock()
	close(old.done)
}

// begin says that a frame of an agent's stream is in flight; false: one is already.
func (s *Sessions) begin(agent string, stream wire.StreamID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := stream.Owned(wire.StreamAgent, agent)
	if _, is := s.busy[id]; is {
		return false
	}
	if s.busy == nil {
		s.busy = make(map[wire.StreamID]struct{})
	}
	s.busy[id] = struct{}{}
	return true
}

func (s *Sessions) end(agent string, stream wire.StreamID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, stream.Owned(wire.StreamAgent, agent))
}

// Has reports whether an agent is connected.
func (s *Sessions) Has(agent string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byAgent[agent] != nil
}

// List is who is connected now, by agent id.
func (s *Sessions) List() []Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Session, 0, len(s.byAgent))
	for x := range maps.Values(s.byAgent) {
		list = append(list, Session{
			Agent: x.hello.Agent, Host: x.hello.Host, Instance: x.hello.Instance.String(), Run: x.hello.Run,
			Software: x.hello.Software, Address: x.address, Since: x.since, Frames: x.frames.Load(),
		})
	}
	slices.SortFunc(list, func(a, b Session) int { return strings.Compare(a.Agent, b.Agent) })
	return list
}
