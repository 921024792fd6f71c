package ship

import (
	"net"
	"strings"
	"testing"

	"fanin/ingest/ingesttest"
	"fanin/internal/waittest"
)

// TestRefused: an agent that cannot connect reports the cause.
func TestRefused(t *testing.T) {
	_, _, addr := collect(t, func(s *ingesttest.TCP) { s.MaxConns = 1 })
	first := connect(t, addr)
	waittest.UntilEqual(t, "the trouble", "", first.Trouble)
	second := connect(t, addr)
	troubled(t, second, "the collector refused the session: too many connections: raise max_conns")

	p := newPeer(t)
	p.script = func(net.Conn) bool { return true } // hangs up
	hungUp := p.serve().dial(t)
	waittest.Until(t, "trouble that explains the end", func() bool {
		said := hungUp.Trouble()
		if strings.Contains(said, "kind 0") {
			t.Fatal(said)
		}
		return strings.Contains(said, "closed before the collector's welcome")
	})
}
