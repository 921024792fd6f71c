package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fanin/internal/config"
	"fanin/internal/disk"
	"fanin/internal/spool"
	"fanin/internal/unixsock"
	"fanin/internal/wire"
)

// unixTable is [[agent.unix]]: a socket to which other programs send their lines.
type unixTable struct {
	Path     string       `toml:"path"`
	Type     string       `toml:"type"`
	Format   string       `toml:"format"`
	Mode     *config.Mode `toml:"mode"`
	Source   string       `toml:"source"`
	PID      *bool        `toml:"pid"`
	MaxConns int          `toml:"max_conns"`
}

const (
	datagrams   = "datagram"
	stream      = "stream"
	formatAuto  = "auto"
	formatPlain = "plain"
)

// checkUnix reports the mistakes in [[agent.unix]].
func (s *settings) checkUnix() {
	seen := make(map[string]bool)
	for i := range s.Agent.Unix {
		t := &s.Agent.Unix[i]
		at := s.file.Table(fmt.Sprintf("agent.unix[%d]", i))
		switch {
		case t.Path == "":
			at.Problem("path", "path is missing: where the socket is made, as in path = \"/run/fanin/agent.sock\"")
		case !filepath.IsAbs(t.Path) || len(t.Path) > maxSocket:
			at.Problem("path", "path is %q; want an absolute path of at most %d bytes", t.Path, maxSocket)
		case seen[filepath.Clean(t.Path)]:
			at.Problem("path", "%q is there twice", t.Path)
		}
		seen[filepath.Clean(t.Path)] = true
		if s.to.Scheme == "udp" {
			at.Problem("", "lines of a socket are kept until they are acknowledged, and udp acknowledges nothing: "+
				"write tcp:// or tls://")
		}
		at.OneOf("type", cmp.Or(t.Type, datagrams), datagrams, stream)
		at.OneOf("format", cmp.Or(t.Format, formatAuto), formatAuto, formatPlain)
		if t.Source == wire.SourceNotice {
			at.Problem("source", "source is %q, which is the collector's own name in the log: choose another", t.Source)
		}
		if t.MaxConns < 0 {
			at.Problem("max_conns", "max_conns is %d; want 1 or more", t.MaxConns)
		}
	}
}

// checkSockets tries where the sockets are to be made.
func (s *settings) checkSockets() error {
	var problems []error
	for i, t := range s.Agent.Unix {
		err := disk.Usable(filepath.Dir(t.Path))
		if err == nil {
			err = unixsock.Free(t.Path)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("agent.unix[%d]: %w", i, err))
		}
	}
	return errors.Join(problems...)
}

// settings are those of the socket.
func (t *unixTable) settings() unixsock.Settings {
	return unixsock.Settings{
		Path: t.Path, Stream: t.Type == stream, Mode: fs.FileMode(config.Or(t.Mode, 0o666)),
		Plain: t.Format == formatPlain, Source: t.source(), PID: config.Or(t.PID, true),
		MaxConns: cmp.Or(t.MaxConns, 256),
	}
}

// source is that of lines that name none.
func (t *unixTable) source() string {
	base := filepath.Base(t.Path)
	return cmp.Or(t.Source, wire.CleanSource(strings.TrimSuffix(base, filepath.Ext(base))), wire.CleanSource(base))
}

// spoolsName is the directory of the spools in the agent's state.
const spoolsName = "spool"

func (s *settings) spoolsDir() string { return filepath.Join(s.Agent.State, spoolsName) }

// spoolName is the name of the socket's spool: that of the socket, and the CRC-32 of its path.
func (t *unixTable) spoolName() string {
	path := filepath.Clean(t.Path)
	return fmt.Sprintf("%.100s-%08x", wire.CleanSource(filepath.Base(path)), crc32.ChecksumIEEE([]byte(path)))
}

// socket is a socket whose lines are spooled. It implements sender. What is left of a socket
// that is configured no more is sent like that, too, without one.
type socket struct {
	*spool.Spool
	received *unixsock.Socket // nil: nothing is received any more
	path     string
	stop     time.Duration
	out      wire.Appender
	log      *slog.Logger
	stalled  stalled
}

// listen makes the sockets.
func (a *agent) listen() error {
	s := a.settings
	named := make(map[string]bool)
	for i := range s.Agent.Unix {
		t := &s.Agent.Unix[i]
		x, err := a.openSocket(filepath.Join(s.spoolsDir(), t.spoolName()), t.source(), t.Path)
		if err != nil {
			return err
		}
		a.inputs = append(a.inputs, x)
		named[t.spoolName()] = true
		if err := new(disk.Disk).MkdirAll(filepath.Dir(t.Path), 0o755); err != nil {
			return fmt.Errorf("make the directory of the socket %s: %w", t.Path, err)
		}
		received := t.settings()
		received.Lines, received.Log = x.Spool, a.log
		if x.received, err = unixsock.Listen(received); err != nil {
			return err
		}
	}
	return a.openLeft(named)
}

// openLeft opens the spools of sockets that are configured no more.
func (a *agent) openLeft(named map[string]bool) error {
	entries, err := os.ReadDir(a.settings.spoolsDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || named[e.Name()] {
			continue
		}
		x, err := a.openSocket(filepath.Join(a.settings.spoolsDir(), e.Name()), e.Name(), e.Name())
		if err != nil {
			return err
		}
		a.inputs = append(a.inputs, x)
	}
	return nil
}

func (a *agent) openSocket(dir, source, path string) (*socket, error) {
	if err := new(disk.Disk).MkdirAll(a.settings.spoolsDir(), 0o700); err != nil {
		return nil, err
	}
	s, err := spool.Open(a.settings.spool(dir, source, a.log))
	if err != nil {
		return nil, err
	}
	return &socket{Spool: s, path: path, stop: time.Duration(a.settings.Agent.Stop), out: a.shipper, log: a.log}, nil
}

// run receives and sends until ctx ends. Then it takes what was sent to the socket before.
func (x *socket) run(ctx context.Context) {
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	sent := make(chan struct{})
	go func() { // ends by stop, or with the spool
		defer close(sent)
		x.Run(sending, x.out)
	}()
	if x.received != nil {
		x.received.Serve(ctx)
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(x.stop, time.Second))
	defer cancel()
	if err := x.Close(closing); err != nil {
		x.log.Error("lines of a socket could not be written to the disk before the stop, and are lost", "path", x.path,
			"err", err)
	}
	if x.received == nil && x.drained(ctx, sent) {
		os.Remove(x.Dir) // if it is empty
	}
	stop()
	<-sent
}

// drained waits until all is sent; false: ctx ended first.
func (x *socket) drained(ctx context.Context, sent <-chan struct{}) bool {
	select {
	case <-sent:
		return x.Status().Segments == 0
	case <-ctx.Done():
		return false
	}
}

func (x *socket) counts() map[string]uint64 {
	counts := x.Counts()
	if x.received != nil {
		maps.Copy(counts, x.received.Counts())
	}
	return counts
}

// sources is the socket as status shows it.
func (x *socket) sources() []sourceStatus {
	return []sourceStatus{spoolStatus("unix", x.path, x.Spool, &x.stalled)}
}
