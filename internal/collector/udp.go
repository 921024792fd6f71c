package collector

import (
	"cmp"
	"context"
	"fmt"

	"fanin/ingest/agent"
	"fanin/ingest/datagram"
	"fanin/ingest/plain"
	"fanin/ingest/syslog"
	"fanin/internal/config"
)

// udpTable is [[collector.udp]].
type udpTable struct {
	Listen     string       `toml:"listen"`
	Insecure   bool         `toml:"insecure"`
	Source     string       `toml:"source"`
	ReadBuffer *config.Size `toml:"read_buffer"`
	Queue      *config.Size `toml:"queue"`
	MaxRate    *config.Size `toml:"max_rate"`
	MaxLine    *config.Size `toml:"max_line"`
	peerTable
	messageTable
}

func (t *udpTable) check(c *checks) {
	c.listenPlain(t.Listen, t.Insecure, "datagrams are never encrypted: use tcp")
	c.source(t.Source)
	c.maxLine(t.MaxLine)
	c.maxRate(t.MaxRate)
	t.peerTable.check(c)
	t.messageTable.check(c)
	if t.TrustHost && t.Format == formatPlain {
		c.Problem("trust_host", "trust_host has no effect with format = \"plain\"")
	}
}

func (t *udpTable) needs() needs {
	return needs{ports: []port{{network: "udp", listen: t.Listen, buffer: t.ReadBuffer}},
		memory: []memoryNeed{{"queue", t.Queue}}}
}

func (t *udpTable) open(_ context.Context, s *server, _ int) (*listener, error) {
	conn, err := s.sockets.listenPacket(t.Listen, t.Insecure || s.settings.insecure)
	if err != nil {
		return nil, fmt.Errorf("listen on udp %s: %w", t.Listen, err)
	}
	return packetListener("udp", conn, t.listener(s))
}

// packetListener reads the datagrams of a socket.
func packetListener(kind string, conn heldPackets, l *datagram.Listener) (*listener, error) {
	r, err := conn.socket.packets(l)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("listen on %s %s: %w", kind, conn.LocalAddr(), err)
	}
	return &listener{kind: kind, address: conn.LocalAddr().String(), serve: r.serve, handover: packetHandover(l),
		shutdown: func(ctx context.Context) error {
			conn.Close() // what is sent from now on is refused when the rest was read
			return l.Shutdown(ctx)
		}, close: func() {
			conn.Close()
			r.close()
		}}, nil
}

// packetHandover leaves a socket of datagrams to another listener.
func packetHandover(l *datagram.Listener) handover {
	return handover{retire: l.Retire, rest: func(ctx context.Context) { l.Shutdown(ctx) }, begun: l.Begun()}
}

func (t *udpTable) listener(s *server) *datagram.Listener {
	agents := &agent.Datagrams{Inputs: s.inputs}
	return &datagram.Listener{
		Formats: []datagram.Format{agents.Format(), t.lines(s).Format()},
		Out:     s.sink, Metrics: s.counters, Log: s.log, Notice: s.sink.Notice,
		ReadBuffer: int(config.OrZero(t.ReadBuffer)), QueueBytes: int64(config.OrZero(t.Queue)),
		MaxRate: int64(config.OrZero(t.MaxRate)), Peers: t.peers(),
	}
}

// scanner is how messages of syslog are understood.
func (t *udpTable) scanner(s *settings) *syslog.Settings {
	x := t.scanning(s, cmp.Or(t.Source, "udp"))
	if x != nil {
		x.NameBytes = 1 << 20 // of all senders
	}
	return x
}

// lines returns the handler of syslog and of plain lines.
func (t *udpTable) lines(s *server) *plain.Datagrams {
	return &plain.Datagrams{Inputs: s.inputs, Source: t.Source, MaxLine: int(config.OrZero(t.MaxLine)),
		Syslog: s.counted(t.scanner(s.settings))}
}
