package collector

import (
	"time"

	"fanin/ingest/stream"
	"fanin/internal/certs"
	"fanin/internal/config"
	"fanin/internal/config/tables"
	"fanin/internal/join"
)

// streamTable bounds the connections of a listener. Tables whose inputs accept connections
// embed it.
type streamTable struct {
	MaxConns         *int             `toml:"max_conns"`
	MaxConnsPerIP    *int             `toml:"max_conns_per_ip"`
	HandshakeTimeout *config.Duration `toml:"handshake_timeout"`
	FrameTimeout     *config.Duration `toml:"frame_timeout"`
	IdleTimeout      *config.Duration `toml:"idle_timeout"`
}

// limits are the bounds as a listener has them; rate is how much one address may send.
func (t *streamTable) limits(rate *config.Size) stream.Limits {
	return stream.Limits{
		MaxConns: config.OrZero(t.MaxConns), MaxConnsPerIP: config.OrZero(t.MaxConnsPerIP),
		MaxRate:          int64(config.OrZero(rate)),
		HandshakeTimeout: time.Duration(config.OrZero(t.HandshakeTimeout)),
		FrameTimeout:     time.Duration(config.OrZero(t.FrameTimeout)),
		IdleTimeout:      time.Duration(config.OrZero(t.IdleTimeout)),
	}
}

func (t *streamTable) needs() *connNeed { return &connNeed{t.MaxConns, defaultMaxConns, stream.Beyond} }

// streamTLS is how connections are encrypted; nil: they are not.
func (c *server) streamTLS(t *tables.ServerTLS, clientNames []string) (*stream.TLS, error) {
	if t == nil {
		return nil, nil
	}
	files := c.tlsFiles(t)
	var byALPN map[string]stream.Protocol
	if c.fleet.own() != nil && c.settings.joinsAt(t) {
		files.Joins = join.Protocol
		byALPN = map[string]stream.Protocol{join.Protocol: newJoins(c).serve}
	}
	config, err := files.Server()
	return &stream.TLS{Config: config, Explain: files.ExplainServer, Allowed: certs.Named(clientNames),
		ByALPN: byALPN}, err
}
