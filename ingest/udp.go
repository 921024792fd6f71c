package ingest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"fanin/internal/counters"
	"fanin/internal/lines"
	"fanin/internal/retry"
	"fanin/internal/wire"
)

// UDP takes lines from datagrams: plain ones, and agents' lossy streams. Nobody
// is answered; what the kernel drops is counted and said. Set the fields, then
// Serve. Zero fields take the defaults named.
type UDP struct {
	Out     wire.Appender                    // who keeps the lines; required
	Metrics *DatagramMetrics                 // shared by the listeners of a process; nil: its own
	Inputs  *counters.Set                    // counts lines; shared by all of a process; nil: its own
	Log     *slog.Logger                     // nil: discard
	Notice  func(format string, args ...any) // says in the log itself what was lost; nil: only Log

	Source     string // of plain datagrams; default "udp"
	ReadBuffer int    // receive buffer to ask the kernel for; default 8 MiB
	QueueBytes int64  // memory for datagrams that wait to be kept; default 32 MiB, taken only when needed
	MaxRate    int64  // bytes a second from one address, beyond which its datagrams are dropped; default no bound
	MaxLine    int    // longer lines are split; default wire.MaxLine, at least 256 bytes

	once                   sync.Once
	limited                *retry.Log
	ctx                    context.Context // of every Append: ends when a Shutdown is given up
	giveUp                 context.CancelFunc
	plainLines, agentLines *counters.Input
	rates                  rates
	overRate               atomic.Int64 // datagrams dropped and not told of yet

	mu       sync.Mutex
	draining chan struct{} // closed by Shutdown
	serving  sync.WaitGroup
}

func (u *UDP) setUp() {
	u.once.Do(func() {
		if u.Metrics == nil {
			u.Metrics = NewDatagramMetrics()
		}
		if u.Log == nil {
			u.Log = slog.New(slog.DiscardHandler)
		}
		if u.Notice == nil {
			u.Notice = func(string, ...any) {}
		}
		if u.Inputs == nil {
			u.Inputs = new(counters.Set)
		}
		u.plainLines, u.agentLines = u.Inputs.New("udp", counters.None), u.Inputs.New("udp-agent", counters.None)
		u.limited = retry.NewLog(u.Log)
		orDefault(&u.Source, "udp")
		orDefault(&u.ReadBuffer, 8<<20)
		orDefault(&u.QueueBytes, 32<<20)
		orDefault(&u.MaxLine, wire.MaxLine)
		u.rates.limit = float64(max(u.MaxRate, 0))
		u.MaxLine = max(u.MaxLine, lines.MinLimit)
		u.ctx, u.giveUp = context.WithCancel(context.Background())
		u.draining = make(chan struct{})
	})
}

// Serve reads datagrams from conn until Shutdown, gives all it read, and closes
// conn. The socket is Serve's alone from the beginning.
func (u *UDP) Serve(conn *net.UDPConn) error {
	u.setUp()
	defer conn.Close()
	if !u.enter() {
		return ErrServerClosed
	}
	defer u.serving.Done()
	listen := conn.LocalAddr().String()
	buffer := u.askBuffer(conn)
	r, err := newDatagramReader(conn, buffer)
	if err != nil {
		return err
	}
	defer r.close()
	q := newQueue(u)
	drops := &dropCounter{u: u, reader: r, listen: listen}
	stop := make(chan struct{})
	var helpers sync.WaitGroup
	helpers.Go(q.give)                       // ends when the queue is closed and empty
	helpers.Go(func() { drops.watch(stop) }) // ends with stop
	u.read(r, q, listen, buffer)
	close(stop)
	q.close()
	helpers.Wait()
	return ErrServerClosed
}

func (u *UDP) enter() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.isDraining() {
		return false
	}
	u.serving.Add(1)
	return true
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
func (u *UDP) read(r *datagramReader, q *queue, listen string, buffer int) {
	sorter := newSorter(u, q)
	draining := false
	for left := 2 * buffer; left > 0; {
		if !draining && u.isDraining() {
			draining = true
			r.drain()
		}
		n, err := r.read()
		if err != nil && draining {
			return
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			u.cannotRead(listen, err)
		}
		now := time.Now()
		for i := range n {
			host, data := r.datagram(i)
			if u.rates.allow(host, len(data), now) {
				sorter.put(host, data, now.UnixMicro())
			} else {
				u.overRate.Add(1)
			}
			if draining {
				left -= len(data) + 1
			}
		}
		if n > 0 {
			u.Metrics.datagrams.Add(float64(n))
			q.wake()
		}
	}
}

// cannotRead says so and waits a little. The socket goes on: an error may come
// from a peer's ICMP message.
func (u *UDP) cannotRead(listen string, err error) {
	u.limited.Warn("udp_read", "cannot read datagrams, trying again", "listener", listen, "error", err)
	select {
	case <-time.After(10 * time.Millisecond):
	case <-u.draining:
	}
}

// Shutdown stops reading, gives what was read and what the kernel still holds,
// and waits for the outcomes. When ctx ends first, it returns ctx's error; what
// was not given then is counted.
func (u *UDP) Shutdown(ctx context.Context) error {
	u.setUp()
	u.mu.Lock()
	if !u.isDraining() {
		close(u.draining)
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
