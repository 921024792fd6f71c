// Package unixsock receives lines on a unix socket, as /dev/log is one, with the id of the
// process that sent each. The id is the kernel's word, and not the sender's: SO_PASSCRED and
// SO_PEERCRED of unix(7).
package unixsock

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"fanin/internal/retry"
)

// Settings configure a Socket. Zero fields have the defaults that are named.
type Settings struct {
	Path     string       // required
	Stream   bool         // connections; else datagrams, each a message
	Mode     fs.FileMode  // of the socket; default 0666: every process may send
	Plain    bool         // lines are sent as they are; else headers of syslog are taken apart
	Source   string       // of lines that name none; required
	PID      bool         // the process's id follows the source, as in app[17]
	MaxConns int          // at a time; default 256
	Lines    Lines        // required
	Log      *slog.Logger // default: discard
}

// Lines takes lines. spool.Spool is one.
type Lines interface {
	// Append takes whole lines, each ending in '\n', of a source.
	Append(ctx context.Context, text []byte, source string) error
	// AppendRecord takes a message without a newline at its end, which may have some inside.
	AppendRecord(ctx context.Context, message []byte, source string) error
}

// Socket is a unix socket that this process made.
type Socket struct {
	Settings
	counts  counts
	limited *retry.Log

	draining atomic.Bool  // nothing more can be sent to conn
	held     atomic.Int64 // bytes of the blocks of connections beyond the first, see mostHeld

	mu    sync.Mutex
	place Place
	conn  *net.UnixConn
	ln    *net.UnixListener
	conns map[*net.UnixConn]bool
}

// Listen makes the socket. A socket that is left of a process that is gone is replaced;
// anything else at its path is not touched.
func Listen(settings Settings) (*Socket, error) {
	settings.defaults()
	s := &Socket{Settings: settings, conns: make(map[*net.UnixConn]bool), limited: retry.NewLog(settings.Log)}
	if err := s.listen(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Socket) listen() (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.place, err = Make(s.Path, s.Mode, s.bindLocked); err != nil {
		s.closeLocked()
	}
	return err
}

func (s *Settings) defaults() {
	if s.Mode == 0 {
		s.Mode = 0o666
	}
	if s.MaxConns == 0 {
		s.MaxConns = 256
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
}

func (s *Socket) network() string {
	if s.Stream {
		return "unix"
	}
	return "unixgram"
}

func (s *Socket) bindLocked() (err error) {
	addr := &net.UnixAddr{Name: s.Path, Net: s.network()}
	if s.Stream {
		if s.ln, err = net.ListenUnix("unix", addr); err == nil {
			s.ln.SetUnlinkOnClose(false)
		}
		return err
	}
	if s.conn, err = ListenDatagrams(s.Path); err != nil {
		return err
	}
	s.conn.SetReadBuffer(receiveBuffer) // as much as the kernel allows
	return nil
}

// ListenDatagrams makes a socket for datagrams, which come with the id of the process that sent
// them.
func ListenDatagrams(path string) (*net.UnixConn, error) {
	c := net.ListenConfig{Control: passCredentials}
	conn, err := c.ListenPacket(context.Background(), "unixgram", path)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil // as all of this network are
}

// receiveBuffer is how much the kernel may hold for the socket.
const receiveBuffer = 8 << 20

// Serve receives until ctx ends. Then it removes the socket, lets nothing more be sent to it,
// takes what was sent before, for drainFor at most, and returns. A socket that another
// process removes meanwhile is made again.
func (s *Socket) Serve(ctx context.Context) {
	taking, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.place.Remove()
		s.drainLocked()
		for c := range s.conns {
			c.CloseRead()
		}
		time.AfterFunc(drainFor, cancel)
	})()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.closeLocked()
	}()
	go s.watch(ctx) // ends with ctx
	if s.Stream {
		s.accept(ctx, taking)
		return
	}
	s.datagrams(ctx, taking)
}

const (
	drainFor   = 2 * time.Second        // for how long a stop takes what was sent before
	acceptFor  = 100 * time.Millisecond // for how long it looks for what was sent before
	watchEvery = 5 * time.Second        // how often the socket is looked for
)

// watch has the socket made again when it is not at its path any more.
func (s *Socket) watch(ctx context.Context) {
	for retry.Pause(ctx, watchEvery) == nil {
		s.mu.Lock()
		if !s.place.Ours() {
			s.drainLocked()
		}
		s.mu.Unlock()
	}
}

// again makes the socket again; false: ctx ended first.
func (s *Socket) again(ctx context.Context) bool {
	s.mu.Lock()
	s.closeLocked()
	s.draining.Store(false)
	s.mu.Unlock()
	for ctx.Err() == nil {
		err := s.listen()
		if err == nil && ctx.Err() != nil { // a stop between the two has not seen this socket, to end it
			return false
		}
		if err == nil {
			s.Log.Warn("the socket was removed by another process; it has been made again", "path", s.Path)
			return true
		}
		s.limited.Error("again", "the socket was removed by another process and cannot be made again; trying again",
			"path", s.Path, "err", err)
		retry.Pause(ctx, time.Second)
	}
	return false
}

// drainLocked lets nothing more be sent to the socket. What is there can be read, to its end.
func (s *Socket) drainLocked() {
	if s.ln != nil {
		s.ln.SetDeadline(time.Now().Add(acceptFor))
	}
	if s.conn != nil {
		s.conn.CloseRead()
		s.draining.Store(true)
		s.conn.SetReadDeadline(time.Now().Add(acceptFor)) // the kernel does not tell that nothing is left
	}
}

func (s *Socket) closeLocked() {
	s.place.Remove()
	if s.ln != nil {
		s.ln.Close()
	}
	if s.conn != nil {
		s.conn.Close()
	}
}

// listening returns what the socket receives from.
func (s *Socket) listening() (*net.UnixConn, *net.UnixListener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn, s.ln
}

// source returns the source of a message.
func (s *Socket) source(tag string, pid int) string {
	name := tag
	if name == "" {
		name = s.Source
	}
	if !s.PID || pid <= 0 {
		return name
	}
	return fmt.Sprintf("%s[%d]", name, pid)
}
