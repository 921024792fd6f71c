package collector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"fanin/ingest"
	"fanin/internal/retry"
	"fanin/internal/unixsock"
)

// unixSocket serves a socket of [[collector.unix]]. If another process removes its file, a new
// one is made and served, too: programs that are connected to the old one go on.
type unixSocket struct {
	table    *unixTable
	serve    func(endpoint) error // ends by shutdown
	shutdown func(context.Context) error
	log      *slog.Logger

	running sync.WaitGroup
	ended   chan error // of a serve that ended by itself

	mu    sync.Mutex
	now   endpoint
	place unixsock.Place // none of a socket that systemd made
	stop  chan struct{}  // closed by end
}

// endpoint is a socket: one of these.
type endpoint struct {
	conn *net.UnixConn
	ln   *net.UnixListener
}

func (b endpoint) close() {
	if b.conn != nil {
		b.conn.Close()
	}
	if b.ln != nil {
		b.ln.Close()
	}
}

func (t *unixTable) open(_ context.Context, s *server, conns int) (*listener, error) {
	u := &unixSocket{table: t, log: s.log, ended: make(chan error, 1), stop: make(chan struct{})}
	if t.Type == typeStream {
		l := t.connections(s, conns)
		u.serve, u.shutdown = func(b endpoint) error { return l.Serve(b.ln) }, l.Shutdown
	} else {
		l := t.datagrams(s)
		u.serve, u.shutdown = func(b endpoint) error { return l.Serve(b.conn) }, l.Shutdown
	}
	if err := u.open(&s.sockets); err != nil {
		return nil, err
	}
	return &listener{kind: "unix", address: cmp.Or(t.Path, t.Listen), serve: u.run, shutdown: u.end, close: func() {
		u.place.Remove()
		u.now.close()
	}}, nil
}

// open makes the socket, or takes systemd's.
func (u *unixSocket) open(passed *sockets) error {
	name, ok := systemdName(u.table.Listen)
	if !ok {
		return u.bind()
	}
	f, err := passed.take(name, u.table.network())
	if err != nil {
		return err
	}
	defer f.Close()
	if u.table.Type == typeStream {
		ln, err := net.FileListener(f)
		if err != nil {
			return fmt.Errorf("listen on the socket %q of systemd: %w", name, err)
		}
		u.now = endpoint{ln: ln.(*net.UnixListener)} // what take returns is one
		return nil
	}
	conn, err := net.FilePacketConn(f)
	if err != nil {
		return fmt.Errorf("listen on the socket %q of systemd: %w", name, err)
	}
	u.now = endpoint{conn: conn.(*net.UnixConn)}
	return nil
}

// bind makes the socket.
func (u *unixSocket) bind() (err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	select {
	case <-u.stop:
		return ingest.ErrServerClosed
	default:
	}
	path := u.table.Path
	var b endpoint
	u.place, err = unixsock.Make(path, u.table.mode(), func() error {
		if u.table.Type != typeStream {
			b.conn, err = unixsock.ListenDatagrams(path)
			return err
		}
		if b.ln, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"}); err == nil {
			b.ln.SetUnlinkOnClose(false) // place removes it
		}
		return err
	})
	if err != nil {
		b.close()
		return err
	}
	u.now = b
	return nil
}

// run serves until end.
func (u *unixSocket) run() error {
	u.serveNow()
	u.running.Go(u.watch) // ends with stop
	all := make(chan struct{})
	go func() { // ends by shutdown, as all that it waits for
		u.running.Wait()
		close(all)
	}()
	select {
	case err := <-u.ended:
		return err
	case <-all:
		return ingest.ErrServerClosed
	}
}

func (u *unixSocket) serveNow() {
	u.mu.Lock()
	b := u.now
	u.mu.Unlock()
	u.running.Go(func() { // ends by shutdown
		if err := u.serve(b); err != nil && !errors.Is(err, ingest.ErrServerClosed) {
			select {
			case u.ended <- err:
			default: // one is enough
			}
		}
	})
}

// watchEvery is how often the socket is looked for.
const watchEvery = 5 * time.Second

// watch makes the socket again when it is not at its path any more.
func (u *unixSocket) watch() {
	if _, ok := systemdName(u.table.Listen); ok {
		return // it is not ours to make
	}
	limited := retry.NewLog(u.log)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-u.stop:
			return
		case <-tick.C:
		}
		if u.place.Ours() {
			continue
		}
		if err := u.bind(); err != nil {
			limited.Error("again", "the socket was removed by another process and cannot be made again; trying again",
				"path", u.table.Path, "err", err)
			continue
		}
		u.log.Warn("the socket was removed by another process; it has been made again", "path", u.table.Path)
		u.serveNow()
	}
}

// end removes the socket, so that nothing more is sent to it, and takes what was sent before.
func (u *unixSocket) end(ctx context.Context) error {
	close(u.stop)
	u.mu.Lock()
	u.place.Remove()
	u.mu.Unlock()
	return u.shutdown(ctx)
}
