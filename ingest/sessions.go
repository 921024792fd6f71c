package ingest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanin/internal/wire"
)

// Sessions holds the agents that are connected. Each has its own session, and beside it
// named ones, of each name at most one (wire.Hello.Owner). All inputs of a process share
// one Sessions. Its zero value is ready. It is a prometheus.Collector.
type Sessions struct {
	frames    atomic.Int64 // frames of streams accepted so far, of all agents
	chained   atomic.Int64 // those of them that came before the answer to the one before
	takenOver atomic.Int64 // sessions that ended because the agent connected again
	pace      answerPace

	mu      sync.Mutex
	byOwner map[string]*Claim
	byAgent map[string]int       // sessions by agent id
	lanes   map[ownedStream]lane // streams with frames in flight
}

// Session describes an agent that is connected, for people to read.
type Session struct {
	Agent    string    `json:"agent"`
	Name     string    `json:"session,omitempty"` // of a session beside the agent's own
	Host     string    `json:"host"`
	Instance string    `json:"instance"`
	Run      int64     `json:"run"`
	Software string    `json:"software,omitempty"`
	Address  string    `json:"address"`
	Since    time.Time `json:"since"`
	Frames   int64     `json:"frames"`
}

// Claim is one connection's right to be the session of an owner, from Sessions.Claim to
// Sessions.Release.
type Claim struct {
	Hello  wire.Hello
	Frames atomic.Int64 // frames received in this session

	address string
	since   time.Time
	evict   func(reason string) // ends the connection, without waiting
	evicted bool                // the same instance connected again
	done    chan struct{}       // closed by Release
}

// Done is closed when the claim was released: nothing of its session is in flight.
func (c *Claim) Done() <-chan struct{} { return c.done }

// Claim assigns the session hello.Owner to a connection. The same instance takes
// it over from its older connection, once nothing of that one is in flight: so the
// welcome's watermarks are final. Another
// instance is refused while the first one is connected. evict must end the
// connection without waiting.
func (s *Sessions) Claim(ctx context.Context, hello wire.Hello, address string, evict func(string)) (*Claim, error) {
	c := &Claim{Hello: hello, address: address, since: time.Now(), evict: evict, done: make(chan struct{})}
	for {
		old, err := s.register(c)
		if err != nil {
			return nil, err
		}
		if old == nil {
			return c, nil
		}
		old.evict(fmt.Sprintf("agent %q connected again from %s", hello.Owner(), address))
		select {
		case <-old.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("agent %q: its older connection from %s still waits for outcomes: come back later",
				hello.Owner(), old.address)
		}
	}
}

// maxSessions is how many sessions one agent may have at a time.
const maxSessions = 1000

// register enters c, or returns the older claim that must be released first.
func (s *Sessions) register(c *Claim) (older *Claim, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := c.Hello.Owner()
	old := s.byOwner[id]
	switch {
	case old == nil && s.byAgent[c.Hello.Agent] >= maxSessions:
		return nil, fmt.Errorf("agent %q has %d sessions, as many as an agent may have: wait until some have ended",
			c.Hello.Agent, maxSessions)
	case old == nil:
		if s.byOwner == nil {
			s.byOwner, s.byAgent = make(map[string]*Claim), make(map[string]int)
		}
		s.byOwner[id] = c
		s.byAgent[c.Hello.Agent]++
		return nil, nil
	case old.Hello.Instance != c.Hello.Instance:
		return nil, fmt.Errorf("agent id %q is in use: %s has been connected since %s, "+
			"and another instance with the same id now comes from %s; give one of them an id of its own",
			id, old.address, old.since.UTC().Format(time.RFC3339), c.address)
	case c.Hello.Run < old.Hello.Run:
		return nil, fmt.Errorf("agent %q: a newer start of it is connected from %s; this older one comes from %s",
			id, old.address, c.address)
	}
	if !old.evicted {
		old.evicted = true
		s.takenOver.Add(1)
	}
	return old, nil
}

// Release ends a claim. Nothing of its session may be in flight.
func (s *Sessions) Release(c *Claim) {
	s.mu.Lock()
	delete(s.byOwner, c.Hello.Owner())
	if s.byAgent[c.Hello.Agent]--; s.byAgent[c.Hello.Agent] == 0 {
		delete(s.byAgent, c.Hello.Agent)
	}
	s.mu.Unlock()
	close(c.done)
}

// EndRelays ends the sessions of all relays, which come back and are told anew where the log goes.
func (s *Sessions) EndRelays(reason string) {
	s.mu.Lock()
	var relays []*Claim
	for c := range maps.Values(s.byOwner) {
		if c.Hello.IsRelay() {
			relays = append(relays, c)
		}
	}
	s.mu.Unlock()
	for _, c := range relays {
		c.evict(reason)
	}
}

// Has reports whether an owner of streams is connected.
func (s *Sessions) Has(owner string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byOwner[owner] != nil
}

// List returns the sessions of the agents that are connected now, by agent id and name.
func (s *Sessions) List() []Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Session, 0, len(s.byOwner))
	for c := range maps.Values(s.byOwner) {
		list = append(list, Session{
			Agent: c.Hello.Agent, Name: c.Hello.Session, Host: c.Hello.Host, Instance: c.Hello.Instance.String(),
			Run: c.Hello.Run, Software: c.Hello.Software, Address: c.address, Since: c.since, Frames: c.Frames.Load(),
		})
	}
	slices.SortFunc(list, func(a, b Session) int {
		return cmp.Or(strings.Compare(a.Agent, b.Agent), strings.Compare(a.Name, b.Name))
	})
	return list
}

// Describe implements prometheus.Collector.
func (s *Sessions) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(s, ch) }

// Collect implements prometheus.Collector.
func (s *Sessions) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	agents, sessions := len(s.byAgent), len(s.byOwner)
	s.mu.Unlock()
	send := func(kind prometheus.ValueType, name, help string, v float64) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, nil), kind, v)
	}
	takenOver := prometheus.NewDesc("fanin_rejected_connections_total",
		"Connections that the collector closed, by reason.", nil, prometheus.Labels{"reason": "taken_over"})
	ch <- prometheus.MustNewConstMetric(takenOver, prometheus.CounterValue, float64(s.takenOver.Load()))
	send(prometheus.GaugeValue, "fanin_connected_agents", "Agents connected now.", float64(agents))
	send(prometheus.GaugeValue, "fanin_agent_sessions", "Sessions of agents now: an agent has its own one, and one "+
		"for each run that reads standard input.", float64(sessions))
	send(prometheus.GaugeValue, "fanin_agent_answer_delay_seconds", "For how long answers to small batches wait now, "+
		"so that an agent's lines travel together.", s.pace.now(time.Now()).Seconds())
	send(prometheus.CounterValue, "fanin_agent_frames_total", "Batches, opens, skips and ends accepted from agents.",
		float64(s.frames.Load()))
	send(prometheus.CounterValue, "fanin_agent_chained_frames_total", "Frames of agents that came before the answer "+
		"to the one before them in their stream, because much was to be sent.", float64(s.chained.Load()))
}
