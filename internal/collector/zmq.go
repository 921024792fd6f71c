package collector

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"

	"fanin/ingest"
	"fanin/internal/daemon"
	"fanin/internal/unixsock"
	"fanin/internal/zmtp"
)

// zmqSocket is one that lines or requests come from: a *zmq.Input or a *zmtp.Socket.
type zmqSocket interface {
	Listen() error
	Addrs() []string
	Serve() error
	Shutdown(ctx context.Context) error
	Close()
	Trouble() string
}

// bindZMQ returns the socket of an endpoint, as use does.
func (s *sockets) bindZMQ(e zmtp.Endpoint, bind func() (net.Listener, error)) (net.Listener, error) {
	made := false
	u, err := s.use(e.Network, e.Listen(), func() (io.Closer, net.Addr, error) {
		ln, err := bind()
		if err != nil {
			return nil, nil, err
		}
		if file, ok := ln.(*net.UnixListener); ok {
			file.SetUnlinkOnClose(false) // the socket removes it
		}
		made = true
		return ln, ln.Addr(), nil
	})
	if err != nil {
		return nil, err
	}
	if made && e.Network == "unix" {
		u.socket.own(unixsock.PlaceOf(e.Address), 0)
	}
	ln, err := u.socket.listener()
	if err != nil {
		u.leave()
		return nil, err
	}
	return &heldListener{ln, u}, nil
}

// zmqSockets are those of one table.
type zmqSockets []zmqSocket

// open binds the sockets. Peers that are connected to may be absent.
func (t *zmqTable) open(_ context.Context, s *server, conns int) (*listener, error) {
	var all zmqSockets
	var at []string
	add := func(key string, x zmqSocket) error {
		if err := x.Listen(); err != nil {
			return err
		}
		all = append(all, x)
		at = append(at, key+" "+strings.Join(x.Addrs(), " "))
		return nil
	}
	out, err := t.openAll(s, conns, add)
	if err != nil {
		all.close()
		out.stopOut()
		return nil, err
	}
	l := &listener{kind: "zmq", address: strings.Join(append(at, out.at...), ", "), begin: out.begin,
		stopOut: out.stopOut, close: all.close, subscribers: out.subscribers,
		trouble: func() string { return strings.Join(append(all.troubles(), out.troubles()...), "; ") }}
	if len(all) > 0 {
		l.serve, l.shutdown = all.serve, all.shutdown
	}
	return l, nil
}

// openAll opens the inputs and the tables below this one. What it returns is to be stopped
// in any case.
func (t *zmqTable) openAll(s *server, conns int, add func(key string, x zmqSocket) error) (*zmqOuts, error) {
	out := newZMQOuts(s)
	keys, endpoints := t.sockets()
	for i, e := range endpoints {
		x := t.input(s, zmqTypes()[keys[i]], e)
		security, err := t.security(len(e.Bind) > 0)
		if err != nil {
			return out, &daemon.Exit{Code: daemon.ExitConfig, Err: err}
		}
		x.Socket.Security, x.Socket.MaxConns = security, conns
		if err := add(keys[i], x); err != nil {
			return out, err
		}
	}
	for _, x := range t.outs() {
		socket, err := x.socket(s)
		if err != nil {
			return out, &daemon.Exit{Code: daemon.ExitConfig, Err: err}
		}
		if x.key == "rep" {
			socket.Handle = newZMQRep(s, t.Status.Control).Handle
			err = add(x.key, socket)
		} else {
			err = out.open(t.Output, x.key, socket)
		}
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

// zmqTypes are the socket types of the keys.
func zmqTypes() map[string]zmtp.SocketType {
	return map[string]zmtp.SocketType{"pull": zmtp.Pull, "sub": zmtp.Sub}
}

// serve receives until shutdown. If one socket fails, the listener does; shutdown ends the
// others.
func (l zmqSockets) serve() error {
	ended := make(chan error, len(l))
	for _, x := range l {
		go func() { ended <- x.Serve() }() // ends with shutdown
	}
	for range l {
		if err := <-ended; err != nil && !errors.Is(err, zmtp.ErrClosed) && !errors.Is(err, ingest.ErrServerClosed) {
			return err
		}
	}
	return nil
}

// shutdown ends all sockets at the same time.
func (l zmqSockets) shutdown(ctx context.Context) error {
	problems := make([]error, len(l))
	var all sync.WaitGroup
	for i, x := range l {
		all.Go(func() { problems[i] = x.Shutdown(ctx) }) // ends with ctx
	}
	all.Wait()
	return errors.Join(problems...)
}

func (l zmqSockets) close() {
	for _, x := range l {
		x.Close()
	}
}

// troubles name the peers that cannot be connected to.
func (l zmqSockets) troubles() (all []string) {
	for _, x := range l {
		if why := x.Trouble(); why != "" {
			all = append(all, why)
		}
	}
	return all
}
