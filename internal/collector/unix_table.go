package collector

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"fanin/ingest/datagram"
	"fanin/ingest/plain"
	"fanin/ingest/stream"
	"fanin/ingest/syslog"
	"fanin/internal/config"
	"fanin/internal/origin"
	"fanin/internal/unixsock"
	"fanin/internal/wire"
)

// unixTable is [[collector.unix]]: a socket to which programs of this machine send.
type unixTable struct {
	Path   string       `toml:"path"`
	Listen string       `toml:"listen"`
	Type   string       `toml:"type"`
	Mode   *config.Mode `toml:"mode"`
	Host   string       `toml:"host"`
	Source string       `toml:"source"`

	MaxConns    *int             `toml:"max_conns"`
	MaxLine     *config.Size     `toml:"max_line"`
	IdleTimeout *config.Duration `toml:"idle_timeout"`
	Queue       *config.Size     `toml:"queue"`
	messageTable
}

// Values of type.
const (
	typeDatagram = "datagram"
	typeStream   = "stream"
)

func (t *unixTable) check(c *checks) {
	c.OneOf("type", cmp.Or(t.Type, typeDatagram), typeDatagram, typeStream)
	t.checkPath(c)
	if t.Host != wire.CleanHost(t.Host) {
		c.Problem("host", "host is %q; want A-Z a-z 0-9 . _ / : -", t.Host)
	}
	c.source(t.Source)
	c.maxLine(t.MaxLine)
	t.messageTable.check(c)
	if t.TrustHost && t.Format == formatPlain {
		c.Problem("trust_host", "trust_host has no effect with format = \"plain\"")
	}
	if t.Type == typeStream {
		c.unused("type = \"stream\"", changed("queue", t.Queue, datagram.DefaultQueue))
	} else {
		c.unused("type = \"datagram\"", changed("max_conns", t.MaxConns, defaultUnixConns),
			changed("idle_timeout", t.IdleTimeout, 0))
	}
}

func (t *unixTable) checkPath(c *checks) {
	name, ok := systemdName(t.Listen)
	switch {
	case t.Listen != "" && (!ok || !goodSystemdName.MatchString(name)):
		c.Problem("listen", "listen is %q; want path for a socket to be made, or the FileDescriptorName= of a .socket "+
			"unit, as in \"systemd:log\"", t.Listen)
	case ok:
	case t.Path == "":
		c.Problem("path", "path is missing: where the socket is made, as in path = \"/run/fanin/log.sock\"")
	case !filepath.IsAbs(t.Path) || len(t.Path) > maxSocket:
		c.Problem("path", "path is %q; want an absolute path of at most %d bytes", t.Path, maxSocket)
	}
	for _, x := range c.others {
		if u, ok := x.table.(*unixTable); ok && t.Path != "" && filepath.Clean(u.Path) == filepath.Clean(t.Path) {
			c.Problem("path", "path is %q, which %s has already", t.Path, x.at)
		}
	}
}

func (t *unixTable) needs() needs {
	n := needs{files: func() error {
		if _, ok := systemdName(t.Listen); ok {
			return nil
		}
		if err := unixsock.Free(t.Path); err != nil {
			return err
		}
		dir := filepath.Dir(t.Path)
		if fi, err := os.Stat(dir); err != nil || !fi.IsDir() {
			return fmt.Errorf("the socket %s cannot be made: %s is no directory; make it, or set another path", t.Path,
				dir)
		}
		return nil
	}}
	if _, ok := systemdName(t.Listen); ok {
		n.ports = []port{{network: t.network(), listen: t.Listen}}
	}
	n.path = t.Path
	if t.Type == typeStream {
		n.conns = &connNeed{t.MaxConns, defaultUnixConns, stream.Beyond}
	} else {
		n.memory = []memoryNeed{{"queue", t.Queue}}
	}
	return n
}

const defaultUnixConns = 1000

// network is the kind of the socket, as package net names it.
func (t *unixTable) network() string {
	if t.Type == typeStream {
		return "unix"
	}
	return "unixgram"
}

func (t *unixTable) mode() fs.FileMode { return fs.FileMode(config.Or(t.Mode, 0o660)) }

// peers are the processes of this machine.
func (t *unixTable) peers() origin.Peers {
	host := t.Host
	if host == "" {
		host, _ = os.Hostname()
	}
	return origin.Peers{Local: cmp.Or(wire.CleanHost(host), "localhost")}
}

// scanner is how messages of syslog are understood.
func (t *unixTable) scanner(s *settings) *syslog.Settings {
	x := t.scanning(s, cmp.Or(t.Source, "unix"))
	if x == nil {
		return nil
	}
	if x.Local = true; t.Type != typeStream {
		x.NameBytes = 1 << 20 // of all programs
	}
	return x
}

// connections is the listener of a stream socket.
func (t *unixTable) connections(s *server, conns int) *stream.Listener {
	lines := &plain.Protocol{Out: s.sink, Inputs: s.inputs, Input: "unix", Source: cmp.Or(t.Source, "unix"),
		MaxLine: int(config.OrZero(t.MaxLine)), Syslog: s.counted(t.scanner(s.settings)), Metrics: s.counters,
		Notice: s.sink.Notice}
	limits := (&streamTable{IdleTimeout: t.IdleTimeout}).limits(nil)
	limits.MaxConns, limits.MaxConnsPerIP = conns, -1
	return &stream.Listener{Formats: []stream.Format{lines.Format()}, Limits: limits, Peers: t.peers(), Budget: s.room,
		Metrics: s.counters, Log: s.log}
}

// datagrams is the listener of a datagram socket.
func (t *unixTable) datagrams(s *server) *datagram.Listener {
	lines := &plain.Datagrams{Inputs: s.inputs, Input: "unix", Source: cmp.Or(t.Source, "unix"),
		MaxLine: int(config.OrZero(t.MaxLine)), Syslog: s.counted(t.scanner(s.settings))}
	return &datagram.Listener{Kind: "unix", Private: t.Listen == "", Formats: []datagram.Format{lines.Format()},
		Out: s.sink, Metrics: s.counters, Log: s.log, Notice: s.sink.Notice, Peers: t.peers(),
		QueueBytes: int64(config.OrZero(t.Queue))}
}
