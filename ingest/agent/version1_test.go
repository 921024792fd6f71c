package agent_test

import (
	"testing"

	"fanin/ingest/ingesttest"
	"fanin/internal/wire"
)

// An agent of version 1 gets a fault that names the remedy.
func TestAgentOfVersion1(t *testing.T) {
	c := ingesttest.NewClient(t, ingesttest.Dial(t, ingesttest.Start(t, &ingesttest.TCP{Out: ingesttest.NewRecorder(), Welcome: ingesttest.Welcome})))
	c.Send(wire.AppendHello(nil, wire.Hello{Version: 1, Agent: "a", Instance: wire.StreamID{1}, Run: 1, Host: "any-host", Software: "test"}))
	c.WantFault("version 1", "install the same release on both")
}
