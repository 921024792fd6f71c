package rig

import (
	"io"
	"net"
	"sync"
)

// Cuts is a network between clients and a server that can be cut: every connection breaks, on both
// sides, whatever is on its way.
type Cuts struct {
	Addr string // where clients connect

	ln net.Listener
	to string

	mu    sync.Mutex
	conns map[*net.TCPConn]bool
	done  sync.WaitGroup
}

// NewCuts listens on a port of its own for connections to a server.
func NewCuts(to string) (*Cuts, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &Cuts{Addr: ln.Addr().String(), ln: ln, to: to, conns: make(map[*net.TCPConn]bool)}
	c.done.Go(c.accept) // ends by Close
	return c, nil
}

func (c *Cuts) accept() {
	for {
		nc, err := c.ln.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", c.to)
		if err != nil {
			nc.Close()
			continue
		}
		near, far2 := nc.(*net.TCPConn), far.(*net.TCPConn)
		c.mu.Lock()
		c.conns[near], c.conns[far2] = true, true
		c.mu.Unlock()
		c.done.Go(func() { c.carry(near, far2) }) // ends with the connection
		c.done.Go(func() { c.carry(far2, near) }) // ends with the connection
	}
}

// carry copies one direction. A side that ends in order ends the other one so, too.
func (c *Cuts) carry(from, to *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil {
		c.reset(from)
		c.reset(to)
		return
	}
	to.CloseWrite()
}

func (c *Cuts) reset(nc *net.TCPConn) {
	nc.SetLinger(0)
	nc.Close()
}

// Cut breaks all connections.
func (c *Cuts) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for nc := range c.conns {
		c.reset(nc)
	}
	clear(c.conns)
}

// Close cuts all connections, and accepts no more.
func (c *Cuts) Close() {
	c.ln.Close()
	c.Cut()
	c.done.Wait()
}
