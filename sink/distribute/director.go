package distribute

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"fanin/internal/retry"
	"fanin/sink/distribute/protocol"
)

// Director is where the workers of a cluster connect: it tells each of them where the partitions are
// handed out to its group, and passes those that are right here to the distributor of their partition.
type Director struct {
	Log        *slog.Logger
	Partitions int

	// Places returns where the partitions are handed out to a worker's group, which is made if
	// it is new.
	Places func(ctx context.Context, hello *protocol.Hello) (protocol.Places, error)
	// Here returns the distributor of a partition, if it hands lines of it out to a group now.
	Here func(partition int, group string) *Distributor

	settings atomic.Pointer[Settings]
	door     door
	warnings *retry.Log
	ctx      context.Context
	cancel   context.CancelFunc
}

// NewDirector returns a director with the settings that concern connections. Set the functions, then
// Serve.
func NewDirector(s Settings, partitions int) *Director {
	s.defaults()
	r := &Director{Log: s.Log, Partitions: partitions, door: newDoor(), warnings: retry.NewLog(s.Log)}
	r.settings.Store(&s)
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Serve accepts workers from ln until Close, and closes ln.
func (r *Director) Serve(ln net.Listener) error {
	defer ln.Close()
	if !r.door.listen(ln) {
		return ErrClosed
	}
	pause := retry.Backoff{Min: 5 * time.Millisecond, Max: time.Second}
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			pause.Reset()
			r.accept(nc)
		case r.door.isClosed():
			return ErrClosed
		case errors.Is(err, net.ErrClosed):
			return err
		default:
			r.warnings.Warn("accept", "cannot accept workers; trying again", "err", err)
			pause.Wait(r.ctx)
		}
	}
}

// Close ends all connections.
func (r *Director) Close() {
	r.door.close()
	r.cancel()
	r.door.disconnect()
}

// accept serves a connection on a goroutine of its own, or refuses it.
func (r *Director) accept(nc net.Conn) {
	s := r.settings.Load()
	leave, err := r.door.enter(nc, s.MaxWorkers*r.Partitions, s.MaxWorkersPerIP*r.Partitions)
	if err != nil {
		r.refuse(nc, err, s.TLS == nil)
		nc.Close()
		return
	}
	go func() { // ends with the connection, which Close closes
		defer leave()
		defer nc.Close()
		r.serve(nc, s)
	}()
}

// refuse logs that a peer is refused, and tells it the reason.
func (r *Director) refuse(nc net.Conn, err error, tell bool) {
	r.warnings.Warn("refused", "a worker was refused", "err", err, "peer", nc.RemoteAddr().String())
	if tell {
		sendFault(nc, err)
	}
}

// serve answers a greeting: with the places of the partitions, or with the lines of one.
func (r *Director) serve(raw net.Conn, s *Settings) {
	nc := raw
	raw.SetDeadline(time.Now().Add(s.HandshakeTimeout))
	if s.TLS != nil {
		nc = tls.Server(raw, s.TLS)
	}
	reader := protocol.NewReader(nc, 4096)
	hello, leave, err := s.greet(nc, reader)
	defer leave()
	if err != nil {
		r.refuse(nc, err, true)
		return
	}
	d, err := r.here(&hello)
	if d != nil && d.take(raw, nc, reader, &hello) {
		return
	}
	if err == nil {
		err = r.answerPlaces(nc, &hello, s.HandshakeTimeout)
	}
	if err != nil {
		r.refuse(nc, err, true)
	}
}

// here returns the distributor of the partition that a worker came for; nil: it is not here.
func (r *Director) here(hello *protocol.Hello) (*Distributor, error) {
	if !hello.Cluster {
		return nil, errors.New(protocol.ReasonCluster)
	}
	if err := CheckGroup(hello.Group); err != nil || hello.Partition == "" {
		return nil, err
	}
	p, err := strconv.Atoi(hello.Partition)
	if err != nil || p < 0 || p >= r.Partitions {
		return nil, fmt.Errorf("partition %.20q: the cluster has the partitions 0 to %d", hello.Partition,
			r.Partitions-1)
	}
	return r.Here(p, hello.Group), nil
}

// answerPlaces sends where the partitions are.
func (r *Director) answerPlaces(nc net.Conn, hello *protocol.Hello, within time.Duration) error {
	ctx, cancel := context.WithTimeout(r.ctx, within)
	defer cancel()
	places, err := r.Places(ctx, hello)
	if err != nil {
		return err
	}
	nc.SetWriteDeadline(time.Now().Add(within))
	nc.Write(protocol.AppendFrame(nil, &protocol.Frame{Kind: protocol.KindPlaces, Places: places})) // it asks again
	return nil
}

// take serves a worker whose greeting was read, until the connection ends. False: the lines are no longer
// handed out here. That is no refusal, which would end a worker: its partition moves just now.
func (d *Distributor) take(raw, nc net.Conn, r *protocol.Reader, hello *protocol.Hello) bool {
	leave, err := d.door.enter(raw, d.now().MaxWorkers, d.now().MaxWorkersPerIP)
	if err != nil && d.draining() {
		return false
	}
	if err == nil {
		defer leave()
		err = d.attend(raw, nc, r, hello)
	}
	if errors.Is(err, errElsewhere) {
		return false
	}
	if err != nil {
		d.countRefused(nc, err)
		sendFault(nc, err)
	}
	return true
}
