package collector

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"fanin/ingest/relp"
	"fanin/ingest/stream"
	"fanin/ingest/syslog"
	"fanin/internal/certs"
	"fanin/internal/config"
	"fanin/internal/config/tables"
	"fanin/internal/daemon"
)

// relpTable is [[collector.relp]]: messages of syslog from RELP clients, each acknowledged.
type relpTable struct {
	Listen        string            `toml:"listen"`
	TLS           *tables.ServerTLS `toml:"tls"`
	Insecure      bool              `toml:"insecure"`
	ClientNames   []string          `toml:"client_names"`
	Source        string            `toml:"source"`
	Window        *int              `toml:"window"`
	MaxMessage    *config.Size      `toml:"max_message"`
	MaxLine       *config.Size      `toml:"max_line"`
	MaxConns      *int              `toml:"max_conns"`
	MaxConnsPerIP *int              `toml:"max_conns_per_ip"`
	MaxRate       *config.Size      `toml:"max_rate"`
	FrameTimeout  *config.Duration  `toml:"frame_timeout"`
	IdleTimeout   *config.Duration  `toml:"idle_timeout"`
	headerTable
	peerTable
}

func (t *relpTable) check(c *checks) {
	c.listen(t.Listen, t.Insecure, t.TLS != nil)
	t.TLS.CheckDevices(c.Table, t.ClientNames)
	t.headerTable.check(c)
	t.peerTable.check(c)
	c.source(t.Source)
	c.maxLine(t.MaxLine)
	c.maxRate(t.MaxRate)
	c.SizeBetween("max_message", t.MaxMessage, 1<<10, relp.MaxMessage)
	if w := t.Window; w != nil && (*w < 1 || *w > relp.MaxWindow) {
		c.Problem("window", "window is %d; want 1 to %d messages, and at least the windowSize of each client",
			*w, relp.MaxWindow)
	}
}

func (t *relpTable) needs() needs {
	return needs{ports: []port{{network: "tcp", listen: t.Listen, tls: t.TLS}}, conns: &connNeed{t.MaxConns,
		defaultMaxConns, stream.Beyond}}
}

func (t *relpTable) open(_ context.Context, s *server, conns int) (*listener, error) {
	l := &stream.Listener{Formats: []stream.Format{t.protocol(s).Format()}, Budget: s.room, Metrics: s.counters,
		Log: s.log, Peers: t.peers(), MaxSegment: relp.Segment}
	l.MaxConns, l.MaxConnsPerIP, l.MaxRate = conns, config.OrZero(t.MaxConnsPerIP), int64(config.OrZero(t.MaxRate))
	l.FrameTimeout = time.Duration(config.OrZero(t.FrameTimeout))
	l.IdleTimeout = time.Duration(config.OrZero(t.IdleTimeout))
	if t.TLS != nil {
		files := s.tlsFiles(t.TLS)
		server, err := files.Server()
		if err != nil {
			return nil, &daemon.Exit{Code: daemon.ExitConfig, Err: fmt.Errorf("listen on relp %s: %w", t.Listen, err)}
		}
		l.TLS = &stream.TLS{Config: server, Explain: files.ExplainServer, Allowed: certs.Named(t.ClientNames)}
	}
	return s.streamListener("relp", t.Listen, t.Insecure, l)
}

func (t *relpTable) protocol(s *server) *relp.Protocol {
	messages := t.scanner(s.settings)
	messages.Metrics = s.counters
	return &relp.Protocol{
		Out: s.sink, Sessions: s.relp, Inputs: s.inputs, Metrics: s.counters, Messages: messages,
		Window: config.OrZero(t.Window), MaxMessage: int(config.OrZero(t.MaxMessage)),
		MaxLine: int(config.OrZero(t.MaxLine)),
	}
}

// scanner is how messages are understood.
func (t *relpTable) scanner(s *settings) *syslog.Settings {
	return t.scanning(s, cmp.Or(t.Source, "relp"))
}
