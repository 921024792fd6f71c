package collector

import (
	"context"
	"errors"
	"strings"
	"sync"

	"fanin/ingest/zmq"
	"fanin/internal/daemon"
	"fanin/internal/zmtp"
)

// zmqSockets are the sockets of one table that lines come from.
type zmqSockets []*zmq.Input

// open binds the sockets. Peers that are connected to may be absent.
func (t *zmqTable) open(_ context.Context, s *server, conns int) (*listener, error) {
	var all zmqSockets
	keys, endpoints := t.sockets()
	var at []string
	for i, e := range endpoints {
		x := t.input(s, zmqTypes()[keys[i]], e)
		security, err := t.security(len(e.Bind) > 0)
		if err != nil {
			all.close()
			return nil, &daemon.Exit{Code: daemon.ExitConfig, Err: err}
		}
		x.Socket.Security, x.Socket.MaxConns = security, conns
		if err := x.Listen(); err != nil {
			all.close()
			return nil, err
		}
		all = append(all, x)
		at = append(at, keys[i]+" "+strings.Join(x.Addrs(), " "))
	}
	return &listener{kind: "zmq", address: strings.Join(at, ", "), serve: all.serve, shutdown: all.shutdown,
		close: all.close, trouble: all.trouble}, nil
}

// zmqTypes are the socket types of the keys.
func zmqTypes() map[string]zmtp.SocketType {
	return map[string]zmtp.SocketType{"pull": zmtp.Pull, "sub": zmtp.Sub}
}

// serve receives until shutdown. If one socket ends by itself, the listener does.
func (l zmqSockets) serve() error {
	ended := make(chan error, len(l))
	for _, x := range l {
		go func() { ended <- x.Serve() }() // ends with shutdown
	}
	var first error
	for i := range l {
		if err := <-ended; i == 0 {
			first = err
		}
	}
	return first
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

// trouble names the peers that cannot be connected to.
func (l zmqSockets) trouble() string {
	var all []string
	for _, x := range l {
		if why := x.Trouble(); why != "" {
			all = append(all, why)
		}
	}
	return strings.Join(all, "; ")
}
