package collector

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"fanin/ingest"
	"fanin/ingest/datagram"
	"fanin/ingest/gelf"
	"fanin/ingest/stream"
	"fanin/internal/config"
	"fanin/internal/daemon"
)

// open opens the sockets of the table. Both have the same port.
func (t *gelfTable) open(_ context.Context, s *server, conns int) (*listener, error) {
	var all parts
	listen := t.Listen
	if t.tcp() {
		l, err := t.connections(s)
		if err != nil {
			return nil, &daemon.Exit{Code: daemon.ExitConfig, Err: fmt.Errorf("listen on gelf %s: %w", listen, err)}
		}
		l.MaxConns = conns
		x, err := s.streamListener("gelf", listen, t.Insecure, l)
		if err != nil {
			return nil, err
		}
		all = append(all, x)
		if _, ok := systemdName(listen); !ok {
			listen = x.address // the port that it got
		}
	}
	if t.udp() {
		x, err := t.openDatagrams(s, listen)
		if err != nil {
			all.close()
			return nil, err
		}
		all = append(all, x)
	}
	return all.listener(), nil
}

func (t *gelfTable) openDatagrams(s *server, listen string) (*listener, error) {
	conn, err := s.sockets.listenPacket(listen, t.Insecure || s.settings.insecure)
	if err != nil {
		return nil, fmt.Errorf("listen on gelf %s: %w", listen, err)
	}
	return packetListener("gelf", conn, t.datagrams(s))
}

func (t *gelfTable) datagrams(s *server) *datagram.Listener {
	return &datagram.Listener{
		Formats: []datagram.Format{t.handler(s).Format()},
		Out:     s.sink, Metrics: s.counters, Log: s.log, Notice: s.sink.Notice,
		ReadBuffer: int(config.OrZero(t.ReadBuffer)), QueueBytes: int64(config.OrZero(t.Queue)),
		MaxRate: int64(config.OrZero(t.MaxRate)), Peers: t.peers(),
	}
}

func (t *gelfTable) handler(s *server) *gelf.Datagrams {
	p := &gelf.Datagrams{Settings: t.messages(s.settings), Inputs: s.inputs, Notice: s.sink.Notice,
		MaxIncomplete: int64(config.OrZero(t.MaxIncomplete))}
	p.Settings.Metrics = s.counters
	return p
}

func (t *gelfTable) connections(s *server) (*stream.Listener, error) {
	l := &stream.Listener{Formats: []stream.Format{t.protocol(s).Format()}, Limits: t.limits(t.MaxRate),
		Peers: t.peers(), Budget: s.room, Metrics: s.counters, Log: s.log}
	var err error
	l.TLS, err = s.streamTLS(t.TLS, t.ClientNames)
	return l, err
}

func (t *gelfTable) protocol(s *server) *gelf.Protocol {
	p := &gelf.Protocol{Settings: t.messages(s.settings), Out: s.sink, Inputs: s.inputs, Notice: s.sink.Notice}
	p.Settings.Metrics = s.counters
	return p
}

// parts are listeners of one table, which are one to all others.
type parts []*listener

// listener is all of them together, at the address of the first.
func (p parts) listener() *listener {
	if len(p) == 1 {
		return p[0]
	}
	return &listener{kind: p[0].kind, address: p[0].address, serve: p.serve, shutdown: p.shutdown, close: p.close,
		handover: handover{p.retire, p.rest, p.begun()}, limit: p[0].limit} // the first one has connections
}

// begun is that of the part that reads datagrams: there is one at most.
func (p parts) begun() <-chan struct{} {
	for _, x := range p {
		if x.begun != nil {
			return x.begun
		}
	}
	return nil
}

func (p parts) retire() {
	for _, x := range p {
		x.retire()
	}
}

func (p parts) rest(ctx context.Context) {
	for _, x := range p {
		x.rest(ctx)
	}
}

func (p parts) close() {
	for _, x := range p {
		x.close()
	}
}

// serve serves all, until one fails, or all have ended.
func (p parts) serve() error {
	ended := make(chan error, len(p))
	for _, x := range p {
		go func() { ended <- x.serve() }() // ends by shutdown
	}
	for range p {
		if err := <-ended; !errors.Is(err, ingest.ErrServerClosed) {
			return err
		}
	}
	return ingest.ErrServerClosed
}

// shutdown ends all at the same time.
func (p parts) shutdown(ctx context.Context) error {
	errs := make([]error, len(p))
	var all sync.WaitGroup
	for i, x := range p {
		all.Go(func() { errs[i] = x.shutdown(ctx) }) // ends with ctx
	}
	all.Wait()
	return errors.Join(errs...)
}
