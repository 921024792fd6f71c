package collector

import (
	"cmp"
	"context"
	"fmt"

	"fanin/ingest/agent"
	"fanin/ingest/plain"
	"fanin/ingest/stream"
	"fanin/ingest/syslog"
	"fanin/internal/config"
	"fanin/internal/config/tables"
	"fanin/internal/daemon"
)

// tcpTable is [[collector.tcp]]: agents, syslog and plain lines on one port.
type tcpTable struct {
	Listen      string            `toml:"listen"`
	TLS         *tables.ServerTLS `toml:"tls"`
	Insecure    bool              `toml:"insecure"`
	Source      string            `toml:"source"`
	MaxRate     *config.Size      `toml:"max_rate"`
	MaxLine     *config.Size      `toml:"max_line"`
	ClientNames []string          `toml:"client_names"`
	relaysTable
	streamTable
	peerTable
	messageTable
}

func (t *tcpTable) check(c *checks) {
	c.listen(t.Listen, t.Insecure, t.TLS != nil)
	t.TLS.CheckDevices(c.Table, t.ClientNames)
	t.peerTable.check(c)
	t.messageTable.check(c)
	t.relaysTable.check(c)
	c.source(t.Source)
	c.maxLine(t.MaxLine)
	c.maxRate(t.MaxRate)
}

func (t *tcpTable) needs() needs {
	return needs{ports: []port{{network: "tcp", listen: t.Listen, tls: t.TLS}}, conns: t.streamTable.needs()}
}

func (t *tcpTable) open(_ context.Context, s *server, conns int) (*listener, error) {
	l, err := t.listener(s)
	if err != nil {
		return nil, &daemon.Exit{Code: daemon.ExitConfig, Err: fmt.Errorf("listen on tcp %s: %w", t.Listen, err)}
	}
	l.MaxConns = conns
	kind := "tcp"
	if t.TLS != nil {
		kind = "tls"
	}
	x, err := s.streamListener(kind, t.Listen, t.Insecure, l)
	if err == nil {
		s.sockets.setAnyPort(x.address)
	}
	if err == nil && l.TLS != nil && l.TLS.ByALPN != nil {
		x.begin = func(context.Context) error { // a reload that fails opens it, too
			s.fleet.joinsOn(x.address)
			return nil
		}
	}
	return x, err
}

// streamListener binds an address, or takes a socket of systemd's, for a listener of
// connections. With insecure, other machines may reach it without encryption.
func (c *server) streamListener(kind, listen string, insecure bool, l *stream.Listener) (*listener, error) {
	ln, err := c.sockets.listen(listen, insecure || c.settings.insecure || l.TLS != nil)
	if err != nil {
		return nil, fmt.Errorf("listen on %s %s: %w", kind, listen, err)
	}
	ln.socket.accepts(l)
	return &listener{kind: kind, address: ln.Addr().String(), serve: func() error { return l.Serve(ln) },
		shutdown: l.Shutdown, handover: streamHandover(l), limit: l.SetMaxConns,
		close: func() {
			ln.socket.left(l)
			ln.Close()
		}}, nil
}

// streamHandover leaves the place of a listener of connections to another one.
func streamHandover(l *stream.Listener) handover {
	return handover{retire: l.Retire, rest: func(ctx context.Context) { l.Wait(ctx) }}
}

func (t *tcpTable) listener(s *server) (*stream.Listener, error) {
	l := &stream.Listener{
		Formats: []stream.Format{t.agents(s).Format(), t.lines(s).Format()},
		Limits:  t.limits(t.MaxRate),
		Peers:   t.peers(), Budget: s.room, Metrics: s.counters, Log: s.log,
	}
	var err error
	l.TLS, err = s.streamTLS(t.TLS, t.ClientNames)
	return l, err
}

// agents returns the protocol of agents.
func (t *tcpTable) agents(s *server) *agent.Protocol {
	return &agent.Protocol{
		Out: s.sink, Welcome: s.welcome, Sessions: s.sessions, Inputs: s.inputs,
		RequireCert: t.TLS != nil && t.TLS.ClientCA != "", TrustHost: t.TrustHost, Relays: t.relays(s),
	}
}

// scanner is how messages of syslog are understood.
func (t *tcpTable) scanner(s *settings) *syslog.Settings {
	return t.scanning(s, cmp.Or(t.Source, "tcp"))
}

// lines returns the protocol of syslog and of plain lines.
func (t *tcpTable) lines(s *server) *plain.Protocol {
	return &plain.Protocol{Out: s.sink, Inputs: s.inputs, Source: t.Source, MaxLine: int(config.OrZero(t.MaxLine)),
		Syslog: s.counted(t.scanner(s.settings)), Metrics: s.counters, Notice: s.sink.Notice}
}
