package collector

import (
	"cmp"
	"context"
	"errors"
	"io"
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
	sockets  *sockets
	copy     func(*socket) (reader, error) // which ends by shutdown
	shutdown func(context.Context) error
	handover
	log *slog.Logger

	running sync.WaitGroup
	ended   chan error // of a serve that ended by itself

	mu   sync.Mutex
	now  *user
	next reader        // of now, until it is served
	stop chan struct{} // closed when the socket is left
}

func (t *unixTable) open(_ context.Context, s *server, conns int) (*listener, error) {
	u := &unixSocket{table: t, sockets: s.sockets, log: s.log, ended: make(chan error, 1), stop: make(chan struct{})}
	x := &listener{kind: "unix", address: cmp.Or(t.Path, t.Listen), begin: u.begin, serve: u.run, shutdown: u.end,
		handover: handover{retire: u.leaveTo, rest: u.rest}, close: u.leave}
	if t.Type != typeStream {
		l := t.datagrams(s)
		u.copy = func(x *socket) (reader, error) { return x.packets(l) }
		u.shutdown, u.handover, x.begun = l.Shutdown, packetHandover(l), l.Begun()
		if err := u.open(); err != nil {
			return nil, err
		}
		return x, nil
	}
	l := t.connections(s, conns)
	u.copy = func(x *socket) (reader, error) { return x.accepting(l) }
	u.shutdown, u.handover = l.Shutdown, streamHandover(l)
	if err := u.open(); err != nil {
		return nil, err
	}
	x.limit = l.SetMaxConns
	first := u.now.socket
	first.accepts(l)
	x.close = func() {
		first.left(l)
		u.leave()
	}
	return x, nil
}

// open makes the socket, or takes systemd's, or that of the listener before in a reload.
func (u *unixSocket) open() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	select {
	case <-u.stop:
		return ingest.ErrServerClosed
	default:
	}
	var place unixsock.Place
	t := u.table
	now, err := u.sockets.use(t.network(), cmp.Or(t.Listen, t.Path), func() (io.Closer, net.Addr, error) {
		return u.bind(&place)
	})
	if err != nil {
		return err
	}
	if t.Listen == "" {
		now.socket.own(place, 0)
	}
	if u.next, err = u.copy(now.socket); err != nil {
		now.leave()
		return err
	}
	u.now = now
	return nil
}

// begin sets the mode of the socket, which may have been another listener's until now.
func (u *unixSocket) begin(context.Context) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.table.Listen == "" {
		u.now.socket.own(unixsock.Place{}, u.table.mode())
	}
	return nil
}

// bind makes the socket, and its file.
func (u *unixSocket) bind(place *unixsock.Place) (c io.Closer, addr net.Addr, err error) {
	path := u.table.Path
	*place, err = unixsock.Make(path, u.table.mode(), func() error {
		if u.table.Type != typeStream {
			conn, err := unixsock.ListenDatagrams(path)
			if err == nil {
				c, addr = conn, conn.LocalAddr()
			}
			return err
		}
		ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err == nil {
			ln.SetUnlinkOnClose(false) // the socket removes it
			c, addr = ln, ln.Addr()
		}
		return err
	})
	if err != nil && c != nil {
		c.Close()
	}
	return c, addr, err
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
	next := u.next
	u.next = reader{}
	u.mu.Unlock()
	if next.serve == nil {
		return // it was left before
	}
	u.running.Go(func() { // ends by shutdown
		if err := next.serve(); err != nil && !errors.Is(err, ingest.ErrServerClosed) {
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
		if u.there() {
			continue
		}
		if err := u.open(); err != nil {
			limited.Error("again", "the socket was removed by another process and cannot be made again; trying again",
				"path", u.table.Path, "err", err)
			continue
		}
		u.log.Warn("the socket was removed by another process; it has been made again", "path", u.table.Path)
		u.serveNow()
	}
}

// there reports whether the socket is at its path. Else it is left, so that another one is made.
func (u *unixSocket) there() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.now.socket.atPath() {
		return true
	}
	u.now.leave()
	return false
}

// leave removes the socket, unless another listener has it.
func (u *unixSocket) leave() {
	u.mu.Lock()
	defer u.mu.Unlock()
	select {
	case <-u.stop:
		return
	default:
	}
	close(u.stop)
	if u.now != nil {
		u.now.leave()
	}
	if u.next.close != nil {
		u.next.close()
		u.next = reader{}
	}
}

// leaveTo leaves the socket to another listener.
func (u *unixSocket) leaveTo() {
	u.leave()
	u.handover.retire()
}

func (u *unixSocket) rest(ctx context.Context) { u.handover.rest(ctx) }

// end removes the socket, so that nothing more is sent to it, and takes what was sent before.
func (u *unixSocket) end(ctx context.Context) error {
	u.leave()
	return u.shutdown(ctx)
}
