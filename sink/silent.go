package sink

import (
	"slices"
	"strings"
	"time"
)

// Silent is how many agents have streams in the log, and neither a session nor a line that was
// committed at before or later. Sessions with a name do not count: they end with their pipe.
// connected reports whether an agent has a session.
func (s *Sink) Silent(before time.Time, connected func(agent string) bool) (n int) {
	for _, agent := range s.quiet(before.UnixMicro()) {
		if !connected(agent) {
			n++
		}
	}
	return n
}

// quiet are the agents of which no line was committed at before, in microseconds, or later.
func (s *Sink) quiet(before int64) (agents []string) {
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	for owner, streams := range s.view.catalog.agents {
		if !strings.Contains(owner, "/") && len(streams) > 0 &&
			!slices.ContainsFunc(streams, func(st *stream) bool { return st.seen >= before }) {
			agents = append(agents, owner)
		}
	}
	return agents
}
