package ingest

import (
	"testing"

	"fanin/internal/wire"
)

// An agent of version 1 gets a fault that names the remedy.
func TestAgentOfVersion1(t *testing.T) {
	c := newClient(t, dial(t, serveTCP(t, &TCP{Out: newKeeper(), Welcome: welcome})))
	c.send(wire.AppendHello(nil, wire.Hello{Version: 1, Agent: "a", Instance: wire.StreamID{1}, Run: 1, Host: "any-host", Software: "test"}))
	c.fault("version 1", "install the same release on both")
}
