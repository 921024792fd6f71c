package ingest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"fanin/internal/wire"
)

// UDP takes lines from datagrams: plain ones, and agents' lossy streams. Nobody
// is answered; what the kernel drops is counted and said. Set the fields, then
// Serve. Zero fields take the defaults named.
type UDP struct {
	Out     wire.Appender                    // who keeps the lines; required
	Metrics *Metrics                         // shared by several listeners; nil: its own, and UDP is a prometheus.Collector
	Log     *slog.Logger                     // nil: discard
	Notice  func(format string, args ...any) // says in the log itself what was lost; nil: only Log

	Source     string // of plain datagrams; default "udp"
	ReadBuffer int    // receive buffer to ask the kernel for; default 8 MiB
	QueueBytes int64  // memory for datagrams that wait to be kept; default 32 MiB, taken only when needed
	MaxLine    int    // longer lines are split; default wire.MaxLine, at least 256 bytes

	once        sync.Once
	say         *sayer
	ctx         context.Context // of every Append: ends when a Shutdown is given up
	giveUp      context.CancelFunc
	ownsMetrics bool

	mu       sync.Mutex
	conns    map[*net.UDPConn]struct{}
	draining chan struct{} // closed by Shutdown
	serving  sync.WaitGroup
}

func (u *UDP) setUp() {
	u.once.Do(func() {
		if u.Metrics == nil {
			u.Metrics, u.ownsMetrics = NewMetrics(), true
		}
		if u.Log == nil {
			u.Log = slog.New(slog.DiscardHandler)
		}
		if u.Notice == nil {
			u.Notice = func(string, ...any) {}
		}
		u.say = newSayer(u.Log)
		orDefault(&u.Source, "udp")
		orDefault(&u.ReadBuffer, 8<<20)
		orDefault(&u.QueueBytes, 32<<20)
		orDefault(&u.MaxLine, wire.MaxLine)
		u.MaxLine = max(u.MaxLine, minLine)
		u.ctx, u.giveUp = context.WithCancel(context.Background())
		u.conns = make(map[*net.UDPConn]struct{})
		u.draining = make(chan struct{})
	})
}

// Serve reads datagrams from conn until Shutdown, gives all it read, and closes
// conn.
func (u *UDP) Serve(conn *net.UDPConn) error {
	u.setUp()
	defer conn.Close()
	if !u.enter(conn) {
		return ErrServerClosed
	}
	defer u.leave(conn)
	got := u.askBuffer(conn)
	q := newQueue(u)
	var helpers sync.WaitGroup
	helpers.Go(q.give) // ends when the queue is closed and empty
	drops := &dropCounter{u: u, conn: conn}
	stop := make(chan struct{})
	helpers.Go(func() { drops.watch(stop) }) // ends with stop
	err := u.read(conn, q, got)
	close(stop)
	q.close()
	helpers.Wait()
	return err
}

func (u *UDP) enter(conn *net.UDPConn) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.isDraining() {
		return false
	}
	u.conns[conn] = struct{}{}
	u.serving.Add(1)
	return true
}

func (u *UDP) leave(conn *net.UDPConn) {
	u.mu.Lock()
	delete(u.conns, conn)
	u.mu.Unlock()
	u.serving.Done()
}

func (u *UDP) isDraining() bool {
	select {
	case <-u.draining:
		return true
	default:
		return false
	}
}

// askBuffer asks for the receive buffer and says what came of it.
func (u *UDP) askBuffer(conn *net.UDPConn) (got int) {
	got, err := setReceiveBuffer(conn, u.ReadBuffer)
	u.Metrics.receiveBufSize.Set(float64(got))
	switch {
	case err != nil:
		u.Log.Warn("cannot set the receive buffer", "listener", conn.LocalAddr().String(), "error", err)
	case got < u.ReadBuffer:
		u.Log.Warn("the kernel granted a smaller receive buffer than asked: bursts may be dropped, and will be counted",
			"listener", conn.LocalAddr().String(), "asked", u.ReadBuffer, "got", got,
			"remedy", sysctlLine(u.ReadBuffer))
	default:
		u.Log.Info("receive buffer", "listener", conn.LocalAddr().String(), "asked", u.ReadBuffer, "got", got)
	}
	return max(got, 64<<10)
}

// read puts datagrams into q until Shutdown, and then what the kernel still
// holds: no more than its buffer, for a sender may never pause.
func (u *UDP) read(conn *net.UDPConn, q *queue, buffer int) error {
	r := newDatagramReader(conn)
	sorter := newSorter(u, q)
	draining, flags, left := false, 0, 2*buffer
	for left > 0 {
		n, err := r.read(flags)
		now := time.Now().UnixMicro()
		for i := range n {
			host, data := r.datagram(i)
			sorter.put(host, data, now)
			if draining {
				left -= len(data) + 1
			}
		}
		if n > 0 {
			u.Metrics.datagrams.Add(float64(n))
			q.wake()
		}
		switch {
		case err == nil:
		case draining, errors.Is(err, net.ErrClosed):
			return ErrServerClosed
		case errors.Is(err, os.ErrDeadlineExceeded) && u.isDraining():
			draining, flags = true, dontWait
			conn.SetReadDeadline(time.Now().Add(drainRead))
		default: // an earlier answer of ours can bring an ICMP error; the socket goes on
			u.say.warn("udp_read", "cannot read datagrams, trying again", "listener", conn.LocalAddr().String(), "error", err)
			select {
			case <-time.After(10 * time.Millisecond):
			case <-u.draining:
			}
		}
	}
	return ErrServerClosed
}

// drainRead bounds the reading of what the kernel holds at the end.
const drainRead = 200 * time.Millisecond

// Shutdown stops reading, gives what was read and what the kernel still holds,
// and waits for the outcomes. When ctx ends first, it returns ctx's error; what
// was not given then is counted.
func (u *UDP) Shutdown(ctx context.Context) error {
	u.setUp()
	u.mu.Lock()
	if !u.isDraining() {
		close(u.draining)
	}
	for conn := range u.conns {
		conn.SetReadDeadline(past)
	}
	u.mu.Unlock()
	done := make(chan struct{})
	go func() { // ends with the last Serve
		u.serving.Wait()
		close(done)
	}()
	defer u.giveUp()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
