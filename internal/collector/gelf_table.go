package collector

import (
	"cmp"

	"fanin/ingest/datagram"
	"fanin/ingest/gelf"
	"fanin/internal/config"
	"fanin/internal/config/tables"
)

// gelfTable is [[collector.gelf]]: messages of GELF, in datagrams, over connections, or both.
type gelfTable struct {
	Listen      string            `toml:"listen"`
	Network     string            `toml:"network"`
	TLS         *tables.ServerTLS `toml:"tls"`
	Insecure    bool              `toml:"insecure"`
	ClientNames []string          `toml:"client_names"`
	gelfMessages
	gelfMemory
	streamTable
	peerTable
}

// gelfMessages is how messages become lines.
type gelfMessages struct {
	Source     string       `toml:"source"`
	TrustHost  bool         `toml:"trust_host"`
	Time       string       `toml:"time"`
	Fields     string       `toml:"fields"`
	MaxMessage *config.Size `toml:"max_message"`
	MaxLine    *config.Size `toml:"max_line"`
}

// gelfMemory bounds what senders may send and what waits.
type gelfMemory struct {
	MaxRate       *config.Size `toml:"max_rate"`
	MaxIncomplete *config.Size `toml:"max_incomplete"`
	ReadBuffer    *config.Size `toml:"read_buffer"`
	Queue         *config.Size `toml:"queue"`
}

// Values of the keys network and fields.
const (
	networkUDP  = "udp"
	networkTCP  = "tcp"
	networkBoth = "both"
	fieldsDrop  = "drop"
	fieldsKeep  = "keep"
)

func (t *gelfTable) udp() bool { return t.Network != networkTCP }
func (t *gelfTable) tcp() bool { return t.Network == networkTCP || t.Network == networkBoth }

func (t *gelfTable) check(c *checks) {
	c.OneOf("network", cmp.Or(t.Network, networkUDP), networkUDP, networkTCP, networkBoth)
	if t.udp() {
		remedy := "datagrams are never encrypted: use network = \"tcp\" with tls"
		c.listenPlain(t.Listen, t.Insecure, remedy)
	} else {
		c.listen(t.Listen, t.Insecure, t.TLS != nil)
	}
	if t.TLS != nil && !t.tcp() {
		c.Problem("tls", "tls has no effect: datagrams are never encrypted; use network = \"tcp\", or \"both\"")
	}
	t.TLS.CheckDevices(c.Table, t.ClientNames)
	c.OneOf("time", cmp.Or(t.Time, timeRead), timeRead, timeSender)
	c.OneOf("fields", cmp.Or(t.Fields, fieldsDrop), fieldsDrop, fieldsKeep)
	c.SizeBetween("max_message", t.MaxMessage, 1<<10, gelf.MaxMessage)
	c.SizeBetween("max_incomplete", t.MaxIncomplete, 4<<20, 1<<30)
	c.source(t.Source)
	c.maxLine(t.MaxLine)
	c.maxRate(t.MaxRate)
	t.peerTable.check(c)
	if !t.tcp() {
		c.unused("network = \"udp\"", changed("max_conns", t.MaxConns, defaultMaxConns),
			changed("idle_timeout", t.IdleTimeout, 0))
	}
	if !t.udp() {
		c.unused("network = \"tcp\"", changed("max_incomplete", t.MaxIncomplete, gelf.DefaultMaxIncomplete),
			changed("read_buffer", t.ReadBuffer, datagram.DefaultReadBuffer),
			changed("queue", t.Queue, datagram.DefaultQueue))
	}
}

func (t *gelfTable) needs() (n needs) {
	if t.tcp() {
		n.ports = append(n.ports, port{network: "tcp", listen: t.Listen, tls: t.TLS})
		n.conns = t.streamTable.needs()
	}
	if t.udp() {
		n.ports = append(n.ports, port{network: "udp", listen: t.Listen, buffer: t.ReadBuffer})
		n.memory = []memoryNeed{{"queue", t.Queue}, {"max_incomplete", t.MaxIncomplete}}
	}
	return n
}

// messages is how messages are understood.
func (t *gelfTable) messages(s *settings) gelf.Settings {
	return gelf.Settings{Source: t.Source, MaxMessage: int(config.OrZero(t.MaxMessage)),
		MaxLine: int(config.OrZero(t.MaxLine)), TrustHost: t.TrustHost, SenderTime: t.Time == timeSender,
		KeepFields: t.Fields == fieldsKeep, JSON: s.Collector.Log.Format == "json"}
}
