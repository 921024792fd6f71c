package rig

import (
	"io"
	"net"
	"sync"
)

// Cuts is a network between clients and a server that can be cut in three ways: Cut breaks every
// connection, Refuse takes no new ones either, and Hush carries nothing while nothing is broken, as
// where a cable is pulled.
type Cuts struct {
	Addr string // where clients connect

	ln net.Listener
	to string

	mu      sync.Mutex
	conns   map[*net.TCPConn]bool
	refuses bool
	silence chan struct{} // closed by the end of a silence; nil: there is none
	done    sync.WaitGroup
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
		near := nc.(*net.TCPConn)
		if !c.note(near) {
			c.reset(near)
			continue
		}
		c.done.Go(func() { c.connect(near) }) // ends with the connection
	}
}

// note notes a connection, which Cut then breaks; false: none is taken.
func (c *Cuts) note(nc *net.TCPConn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.refuses {
		c.conns[nc] = true
	}
	return !c.refuses
}

// connect connects a client to the server, and carries what they say.
func (c *Cuts) connect(near *net.TCPConn) {
	c.listen()
	nc, err := net.Dial("tcp", c.to)
	if err != nil {
		near.Close()
		return
	}
	far := nc.(*net.TCPConn)
	if !c.note(far) {
		c.reset(near)
		c.reset(far)
		return
	}
	c.done.Go(func() { c.carry(near, far) }) // ends with the connection
	c.carry(far, near)
}

// carry copies one direction. A side that ends in order ends the other one so, too.
func (c *Cuts) carry(from, to *net.TCPConn) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		c.listen()
		if _, werr := to.Write(b[:n]); werr != nil {
			break
		}
		if err == io.EOF {
			to.CloseWrite()
			return
		}
		if err != nil {
			break
		}
	}
	c.reset(from)
	c.reset(to)
}

// listen waits for the end of a silence.
func (c *Cuts) listen() {
	c.mu.Lock()
	silence := c.silence
	c.mu.Unlock()
	if silence != nil {
		<-silence
	}
}

func (c *Cuts) reset(nc *net.TCPConn) {
	nc.SetLinger(0)
	nc.Close()
}

// Cut breaks all connections, on both sides, whatever is on its way.
func (c *Cuts) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for nc := range c.conns {
		c.reset(nc)
	}
	clear(c.conns)
}

// Refuse breaks all connections, and new ones at once, until Heal.
func (c *Cuts) Refuse() {
	c.mu.Lock()
	c.refuses = true
	c.mu.Unlock()
	c.Cut()
}

// Hush carries nothing until Heal. What is on its way arrives then.
func (c *Cuts) Hush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.silence == nil {
		c.silence = make(chan struct{})
	}
}

// Heal ends what Refuse and Hush began.
func (c *Cuts) Heal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuses = false
	if c.silence != nil {
		close(c.silence)
		c.silence = nil
	}
}

// Close cuts all connections, and accepts no more.
func (c *Cuts) Close() {
	c.ln.Close()
	c.Heal()
	c.Refuse()
	c.done.Wait()
}
