package collector

import (
	"fanin/ingest"
	"fanin/internal/certs"
)

// relaysTable is which other collectors may forward their logs to an input, and what their lines
// may name. Inputs that agents send to embed it.
type relaysTable struct {
	RelayNames []string `toml:"relay_names"`
	RelayHosts []string `toml:"relay_hosts"`
}

func (t *relaysTable) check(c *checks) {
	if err := certs.CheckPatterns(t.RelayNames); err != nil {
		c.Problem("relay_names", "relay_names: %v", err)
	}
	if err := certs.CheckPatterns(t.RelayHosts); err != nil {
		c.Problem("relay_hosts", "relay_hosts: %v", err)
	}
	if t.RelayHosts != nil && t.RelayNames == nil {
		c.Problem("relay_hosts", "relay_hosts needs relay_names: without it no collector may relay to this input")
	}
}

// relays is the table as inputs use it; nil: none may relay.
func (t *relaysTable) relays(s *server) *ingest.Relays {
	if len(t.RelayNames) == 0 {
		return nil
	}
	return ingest.NewRelays(t.RelayNames, t.RelayHosts, s.sink.Host, s.counters, s.log)
}
