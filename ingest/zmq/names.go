package zmq

import "fanin/internal/wire"

// names turns topics into sources. Publishers use few topics, again and again.
type names struct {
	last  name
	known map[string]name
}

type name struct{ topic, source string }

// maxNames is how many topics are remembered.
const maxNames = 1024

// source returns the source that a topic is. An empty topic is none.
func (m *names) source(topic []byte) string {
	topic = topic[:min(len(topic), wire.MaxName)]
	if string(topic) == m.last.topic {
		return m.last.source
	}
	n, ok := m.known[string(topic)]
	if !ok {
		if m.known == nil || len(m.known) >= maxNames {
			m.known = make(map[string]name)
		}
		n = name{topic: string(topic)}
		n.source = wire.CleanSource(n.topic)
		m.known[n.topic] = n
	}
	m.last = n
	return n.source
}
