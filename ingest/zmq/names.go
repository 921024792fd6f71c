package zmq

import "fanin/internal/wire"

// names turns topics into sources. Publishers use few topics, again and again.
type names struct {
	last  name
	known map[string]name
	size  int // bytes of known
}

type name struct{ topic, source string }

// maxNames is how many bytes of topics and sources are remembered for a peer.
const (
	maxNames     = 16 << 10
	nameOverhead = 80
)

// source returns the source that a topic is. An empty topic is none.
func (m *names) source(topic []byte) string {
	topic = topic[:min(len(topic), wire.MaxName)]
	if string(topic) == m.last.topic {
		return m.last.source
	}
	n, ok := m.known[string(topic)]
	if !ok {
		n = name{topic: string(topic)}
		n.source = wire.CleanSource(n.topic)
		m.size += len(n.topic) + len(n.source) + nameOverhead
		if m.known == nil || m.size > maxNames {
			m.known = make(map[string]name)
			m.size = len(n.topic) + len(n.source) + nameOverhead
		}
		m.known[n.topic] = n
	}
	m.last = n
	return n.source
}
