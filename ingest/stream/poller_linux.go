package stream

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// poller finds out which of its connections can be read, for thousands of peers that send a few
// lines now and then. With the runtime's poller each of those lines wakes a thread, which then
// looks for more work, finds none and sleeps again: that costs more than to commit the line. This
// one wakes no more often than each pollTime, and then all connections for which something came.
//
// It waits only where that gains something: when several connections became ready at once, and none
// of them sends much. Otherwise a connection is woken at once, as by the runtime.
//
//	all    an epoll instance with the connections, edge-triggered
//	gate   an epoll instance that holds all, one-shot: while the poller sleeps, it is not armed, and
//	       what comes wakes nothing. The runtime polls gate alone.
//
// Its zero value is ready. It works while it has connections.
type poller struct {
	mu      sync.Mutex
	active  *polling // nil: there are no connections
	adopted int32    // connections so far
}

// polling is the work of a poller, from its first connection to the end of its last.
type polling struct {
	of    *poller
	all   int
	gate  *os.File
	wait  syscall.RawConn // of gate
	began time.Time
	ended chan struct{}
	conns map[int32]*polledConn // by descriptor; belongs to of.mu
	bytes atomic.Int64          // that were read since the last round
}

const (
	pollTime  = time.Millisecond // half of what the log gathers for: so each of its waits sees more come
	pollLeast = 4                // connections that must be ready at once
	pollBulk  = 4 << 10          // bytes a connection, on average: with more, waiting only slows them down
	pollSweep = 250 * time.Millisecond
	pollEach  = 256 // events
)

// adopt returns a connection to the same peer that the poller polls, nil if it cannot. The caller
// closes the other one.
func (p *poller) adopt(tc *net.TCPConn) net.Conn {
	fd, err := duplicate(tc)
	if err != nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.active == nil {
		p.active = p.begin()
	}
	if p.active == nil {
		unix.Close(fd)
		return nil
	}
	p.adopted++
	c := newPolledConn(p.active, fd, tc)
	c.number = p.adopted
	p.active.conns[int32(fd)] = c
	err = unix.EpollCtl(p.active.all, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Fd: int32(fd), Pad: c.number,
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET})
	if err != nil {
		p.leaveLocked(c)
		unix.Close(fd)
		return nil
	}
	return c
}

func duplicate(tc *net.TCPConn) (fd int, err error) {
	raw, err := tc.SyscallConn()
	if err != nil {
		return 0, err
	}
	if cerr := raw.Control(func(own uintptr) { fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) }); cerr != nil {
		return 0, cerr
	}
	return fd, err
}

// begin begins to poll; nil: the system does not allow it.
func (p *poller) begin() *polling {
	all, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil
	}
	gate, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		unix.Close(all)
		return nil
	}
	unix.SetNonblock(gate, true) // so that the runtime polls it
	g := &polling{of: p, all: all, gate: os.NewFile(uintptr(gate), "epoll"), began: time.Now(),
		ended: make(chan struct{}), conns: make(map[int32]*polledConn)}
	err = unix.EpollCtl(gate, unix.EPOLL_CTL_ADD, all, &unix.EpollEvent{Fd: int32(all), Events: unix.EPOLLONESHOT})
	if err == nil {
		err = g.gate.SetReadDeadline(time.Time{}) // fails if the runtime does not poll it
	}
	if err == nil {
		g.wait, err = g.gate.SyscallConn()
	}
	if err != nil {
		g.gate.Close()
		unix.Close(all)
		return nil
	}
	go g.run()   // ends with the last connection
	go g.sweep() // likewise
	return g
}

// leave removes a connection. With the last one the work ends.
func (p *poller) leave(c *polledConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaveLocked(c)
}

func (p *poller) leaveLocked(c *polledConn) {
	g := c.polling
	delete(g.conns, int32(c.fd))
	if len(g.conns) == 0 {
		p.active = nil
		close(g.ended)
		g.gate.Close()
	}
}

// run wakes connections until the last one has ended.
func (g *polling) run() {
	defer unix.Close(g.all)
	events := make([]unix.EpollEvent, pollEach)
	ready := make([]*polledConn, 0, pollEach)
	for g.await() {
		for {
			began := time.Now()
			n, err := unix.EpollWait(g.all, events, 0)
			if n <= 0 || err != nil {
				break // also by a signal: what is there, await finds at once
			}
			ready = g.find(ready[:0], events[:n])
			for i, c := range ready {
				if c != nil {
					c.wake(events[i].Events)
				}
			}
			clear(ready)
			if bytes := g.bytes.Swap(0); n >= pollLeast && n < pollEach && bytes <= int64(n)*pollBulk {
				time.Sleep(pollTime - time.Since(began))
			}
		}
	}
}

// await waits until a connection is ready. It reports false when there are no more connections.
func (g *polling) await() bool {
	var one [1]unix.EpollEvent
	armed := false
	err := g.wait.Read(func(gate uintptr) bool {
		if !armed {
			armed = true
			unix.EpollCtl(int(gate), unix.EPOLL_CTL_MOD, g.all,
				&unix.EpollEvent{Fd: int32(g.all), Events: unix.EPOLLIN | unix.EPOLLONESHOT})
		}
		n, err := unix.EpollWait(int(gate), one[:], 0)
		return n > 0 || err != nil // also by a signal
	})
	return err == nil
}

// find appends the connections of events, nil for those that have ended: another one may have the
// number of their descriptor.
func (g *polling) find(to []*polledConn, events []unix.EpollEvent) []*polledConn {
	g.of.mu.Lock()
	defer g.of.mu.Unlock()
	for i := range events {
		c := g.conns[events[i].Fd]
		if c != nil && c.number != events[i].Pad {
			c = nil
		}
		to = append(to, c)
	}
	return to
}

// sweep ends what waits for longer than its deadline allows. Deadlines are that coarse, so that to set one
// costs no timer.
func (g *polling) sweep() {
	tick := time.NewTicker(pollSweep)
	defer tick.Stop()
	var late []*polledConn
	for {
		select {
		case <-tick.C:
		case <-g.ended:
			return
		}
		late = g.late(late[:0])
		for _, c := range late {
			c.in.expire(g)
			c.out.expire(g)
		}
		clear(late)
	}
}

// late appends the connections that have a deadline which has passed.
func (g *polling) late(to []*polledConn) []*polledConn {
	now := g.now()
	g.of.mu.Lock()
	defer g.of.mu.Unlock()
	for _, c := range g.conns {
		if c.in.isLate(now) || c.out.isLate(now) {
			to = append(to, c)
		}
	}
	return to
}

// now is the time since the work began: no change of the clock moves it.
func (g *polling) now() int64 { return int64(time.Since(g.began)) }
