package distribute

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"fanin/internal/origin"
	"fanin/internal/retry"
)

// door holds the listeners and the connections, within the bounds on both.
type door struct {
	serving sync.WaitGroup
	closed  chan struct{} // by Shutdown: accept nothing more and hand nothing more out

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[net.Conn]struct{}
	perIP     map[netip.Prefix]int // connections
}

func newDoor() door {
	return door{closed: make(chan struct{}), listeners: make(map[net.Listener]struct{}),
		conns: make(map[net.Conn]struct{}), perIP: make(map[netip.Prefix]int)}
}

// close closes the listeners, and lets no connection in any more.
func (o *door) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.isClosed() {
		close(o.closed)
	}
	for ln := range o.listeners {
		ln.Close()
	}
}

func (o *door) isClosed() bool {
	select {
	case <-o.closed:
		return true
	default:
		return false
	}
}

// disconnect closes the connections and waits until their goroutines have ended.
func (o *door) disconnect() {
	o.mu.Lock()
	for nc := range o.conns {
		nc.Close()
	}
	o.mu.Unlock()
	o.serving.Wait()
}

// listen notes a listener; false: the door is closed.
func (o *door) listen(ln net.Listener) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.isClosed() {
		return false
	}
	o.listeners[ln] = struct{}{}
	return true
}

// enter notes a connection, within the bounds on all and on those of one address. leave is to be
// called when it has ended.
func (o *door) enter(nc net.Conn, most, mostPerIP int) (leave func(), err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	ip := peerOf(nc)
	if err := o.mayEnterLocked(ip, most, mostPerIP); err != nil {
		return nil, err
	}
	from := origin.Network(ip)
	o.conns[nc] = struct{}{}
	o.perIP[from]++
	o.serving.Add(1)
	return func() { o.leave(nc, from) }, nil
}

// mayEnterLocked returns why another connection of an address is refused.
func (o *door) mayEnterLocked(ip netip.Addr, most, mostPerIP int) error {
	switch from := origin.Network(ip); {
	case o.isClosed():
		return &refusal{"draining", errors.New("the collector is shutting down; try again later")}
	case len(o.conns) >= most:
		return &refusal{"max_workers",
			fmt.Errorf("%d workers are connected already, the bound max_workers; try again later", len(o.conns))}
	case mostPerIP > 0 && bounded(ip) && o.perIP[from] >= mostPerIP:
		return &refusal{"max_workers_per_ip", fmt.Errorf("%d workers of %s are connected already, "+
			"the bound max_workers_per_ip; try again later", o.perIP[from], origin.Name(ip))}
	}
	return nil
}

// leave forgets a connection.
func (o *door) leave(nc net.Conn, from netip.Prefix) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.conns, nc)
	if o.perIP[from]--; o.perIP[from] == 0 {
		delete(o.perIP, from)
	}
	o.serving.Done()
}

// draining reports whether Shutdown has begun.
func (d *Distributor) draining() bool { return d.door.isClosed() }

// Serve accepts workers from ln until Shutdown, and closes ln.
func (d *Distributor) Serve(ln net.Listener) error {
	defer ln.Close()
	if !d.door.listen(ln) {
		return ErrClosed
	}
	pause := retry.Backoff{Min: 5 * time.Millisecond, Max: time.Second}
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			pause.Reset()
			d.accept(nc, d.now().TLS)
		case d.draining():
			return ErrClosed
		case errors.Is(err, net.ErrClosed):
			return err
		default:
			d.warnings.Warn("accept", "cannot accept workers; trying again", "err", err)
			pause.Wait(d.ctx)
		}
	}
}

// Connect returns a connection for a worker within this process.
func (d *Distributor) Connect(context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	d.accept(ours, nil)
	return theirs, nil
}

// accept serves nc on goroutines of its own, or refuses it.
func (d *Distributor) accept(nc net.Conn, config *tls.Config) {
	leave, err := d.door.enter(nc, d.now().MaxWorkers, d.now().MaxWorkersPerIP)
	if err != nil {
		d.countRefused(nc, err)
		if config == nil { // with TLS, the fault would have to be encrypted
			sendFault(nc, err)
		}
		nc.Close()
		return
	}
	go func() { // ends with the connection, which Shutdown closes
		defer leave()
		d.serve(nc, config)
	}()
}

// peerOf returns a connection's address without the port; the zero Addr within this
// process.
func peerOf(nc net.Conn) netip.Addr {
	return origin.Parse(nc.RemoteAddr().String())
}

// bounded reports whether the bounds per address apply to ip: to this machine they do
// not, because proxies and many workers connect from there.
func bounded(ip netip.Addr) bool { return ip.IsValid() && !origin.Local(ip) }
