package ship

import (
	"fanin/ingest/ingesttest"
	"net"
	"strings"
	"testing"
)

// TestRefused: an agent that cannot connect says what happened, in words for
// people.
func TestRefused(t *testing.T) {
	_, _, addr := collect(t, func(s *ingesttest.TCP) { s.MaxConns = 1 })
	first := connect(t, addr)
	eventually(t, func() bool { return first.Trouble() == "" })
	second := connect(t, addr)
	eventually(t, func() bool {
		return strings.Contains(second.Trouble(), "the collector refused the session: too many connections: raise max_conns")
	})

	p := newPeer(t)
	p.script = func(net.Conn) bool { return true } // hangs up
	hungUp := p.serve().dial(t)
	eventually(t, func() bool {
		said := hungUp.Trouble()
		if strings.Contains(said, "kind 0") {
			t.Fatal(said)
		}
		return strings.Contains(said, "closed before the collector's welcome")
	})
}
