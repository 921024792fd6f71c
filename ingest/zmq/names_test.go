package zmq

import (
	"fmt"
	"strings"
	"testing"

	"fanin/internal/zmtp"
)

// TestTopicMemory: what is remembered of the topics of a peer that connects to us is bounded, and
// what is forgotten is counted.
func TestTopicMemory(t *testing.T) {
	var m names
	for i := range 3000 {
		if m.source(fmt.Appendf(nil, "%d%s", i, strings.Repeat("x", 240))); m.size > maxNames {
			t.Fatalf("%d bytes are remembered of %d names", m.size, i+1)
		}
	}
	if len(m.known) > maxNames/240 {
		t.Errorf("%d long names are remembered", len(m.known))
	}
	s := serve(t, &Input{Socket: SocketOptions{Type: zmtp.Sub}, Sub: SubOptions{Sequence: true}})
	c := dial(t, s.address(), zmtp.Pub)
	for i := range maxUnknownTopics + 1 {
		send(t, c, []string{fmt.Sprint(i), "", number(0)})
	}
	s.counted(t, "fanin_zmq_forgotten_topics_total", maxUnknownTopics)
}
