// Package datagram reads datagrams, and hands each to the handlers of a table until one
// recognizes it. Senders get no answer. What the kernel drops is counted and reported.
//
//	Listener.Serve -- reader -> Handler -> queue -- queue.run -> Out.Append
//	                recvmmsg, one          lines by      two generations: one is
//	                goroutine              host          filled while the other
//	                                                     one is appended
//
// What waits in the queue is bounded by a budget of its own: when it is full, nothing
// is read, and the kernel counts the datagrams that it drops.
package datagram

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"fanin/ingest"
	"fanin/internal/origin"
	"fanin/internal/retry"
	"fanin/internal/wire"
)

// Datagram is one datagram as it was read. Data is valid until its handler returns, and
// the handler may change it.
type Datagram struct {
	Peer netip.Addr
	Data []byte
	Time int64 // when it was read, in microseconds since 1970 (UTC)
	PID  int   // of the process that sent it, on a unix socket; 0: not known
}

// Handler puts the lines of a datagram into the queue of its socket. It reports false,
// and has changed nothing, if the datagram is of another format.
type Handler func(s *Socket, d *Datagram) bool

// Format makes the handler of one socket. Handlers run one at a time, so a handler may
// keep state.
type Format func() Handler

// DefaultReadBuffer is the receive buffer that a Listener asks for by default, in bytes.
const DefaultReadBuffer = 8 << 20

// DefaultQueue is the default of Listener.QueueBytes.
const DefaultQueue = 32 << 20

// Listener reads datagrams. Set the fields, then Serve. Zero fields have the defaults
// named.
type Listener struct {
	Formats []Format                         // tried in this order; the last one should handle everything; required
	Out     wire.Appender                    // commits the lines; required
	Metrics *ingest.Metrics                  // shared by all inputs of a process; nil: its own
	Log     *slog.Logger                     // nil: discard
	Notice  func(format string, args ...any) // reports in the log of lines what was lost; nil: only Log does
	Peers   origin.Peers                     // who may send, and their names; default: all, by address

	Private    bool   // unix sockets are of no other process: a stop refuses what is sent from then on
	Kind       string // of the sockets, in metrics: udp, or unix for unix sockets; default udp
	ReadBuffer int    // receive buffer to ask the kernel for; default 8 MiB
	QueueBytes int64  // memory for lines that wait to be appended; default 32 MiB, used only when needed
	MaxRate    int64  // bytes a second from one address, beyond which its datagrams are dropped; default no bound

	once     sync.Once
	limited  *retry.Log
	metrics  metrics
	rates    *ingest.Rates
	overRate atomic.Int64 // datagrams dropped for their rate and not reported yet
	phases

	mu      sync.Mutex
	serving sync.WaitGroup
	readers sync.WaitGroup // of serving, those that may still read
}

// Shared is what listeners share that serve one socket, one after another: see Retire. Its zero
// value is of a new socket.
//
// In reloads that follow each other closely, one listener may begin before the one before it has noticed that it
// retired.
type Shared struct {
	mu       sync.Mutex
	drops    uint32        // of the kernel, that were counted
	appended chan struct{} // closed when the listener before has appended all it read; nil: there was none
}

// enter puts a listener behind those that served the socket so far, and returns what it awaits.
func (s *Shared) enter(appended chan struct{}) (before chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, s.appended = s.appended, appended
	return before
}

// phases of a listener's life.
type phases struct {
	appending context.Context // of every Append: ends when a Shutdown is given up
	giveUp    context.CancelFunc
	reading   context.Context // ends with Retire or Shutdown
	stop      context.CancelFunc
	retired   atomic.Bool // what the kernel holds is another listener's

	begun     chan struct{} // closed when a Serve reads
	beginning sync.Once
}

func (l *Listener) setUp() {
	l.once.Do(func() {
		l.Metrics = cmp.Or(l.Metrics, new(ingest.Metrics))
		l.Kind = cmp.Or(l.Kind, "udp")
		l.metrics = metrics{l.Metrics, l.Kind}
		l.metrics.prepare()
		l.Log = cmp.Or(l.Log, slog.New(slog.DiscardHandler))
		if l.Notice == nil {
			l.Notice = func(string, ...any) {}
		}
		l.limited = retry.NewLog(l.Log)
		l.ReadBuffer, l.QueueBytes = cmp.Or(l.ReadBuffer, DefaultReadBuffer), cmp.Or(l.QueueBytes, DefaultQueue)
		l.rates = ingest.NewRates(l.MaxRate)
		l.appending, l.giveUp = context.WithCancel(context.Background())
		l.reading, l.stop = context.WithCancel(context.Background())
		l.begun = make(chan struct{})
	})
}

// Conn is a socket of datagrams: *net.UDPConn, or *net.UnixConn.
type Conn interface {
	net.PacketConn
	syscall.Conn
}

// Serve reads datagrams from conn until Retire or Shutdown, appends all it read, and closes conn.
// The socket belongs to Serve alone from the beginning.
func (l *Listener) Serve(conn Conn) error { return l.ServeAfter(conn, new(Shared)) }

// ServeAfter is Serve for a socket that another listener may have served, and retired from.
func (l *Listener) ServeAfter(conn Conn, shared *Shared) error {
	l.setUp()
	defer conn.Close()
	if !l.enter() {
		return ingest.ErrServerClosed
	}
	defer l.serving.Done()
	haveRead := sync.OnceFunc(l.readers.Done)
	defer haveRead()
	address := conn.LocalAddr().String()
	buffer := l.askBuffer(conn)
	r, err := l.reader(conn, buffer, address)
	if err != nil {
		return err
	}
	defer r.close()
	q := newQueue(l)
	appended := make(chan struct{})
	before := shared.enter(appended)
	defer close(appended)
	drops := &dropCounter{l: l, reader: r, address: address, socket: shared}
	stop := make(chan struct{})
	var appending, watching sync.WaitGroup
	appending.Go(func() { // ends when the queue is closed and empty
		awaitBefore(before)
		q.run()
	})
	watching.Go(func() { drops.watch(stop) }) // ends with stop
	s := newSocket(l, q)
	l.read(r, s, address, buffer)
	s.tickAll(time.Time{})
	close(stop)
	watching.Wait()
	haveRead()
	q.close()
	appending.Wait()
	return ingest.ErrServerClosed
}

// reader takes over the socket. While there is no descriptor for that, datagrams wait in the kernel.
func (l *Listener) reader(conn Conn, buffer int, address string) (*reader, error) {
	backoff := retry.Backoff{Min: 10 * time.Millisecond, Max: time.Second}
	for {
		r, err := newReader(conn, buffer)
		switch {
		case !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE):
			return r, err
		case l.isDraining():
			return nil, fmt.Errorf("%w before it could read: %w", ingest.ErrServerClosed, err)
		}
		l.limited.Warn("udp_read", "cannot read datagrams, trying again", "listener", address, "error", err)
		retry.Pause(l.reading, backoff.Next())
	}
}

// awaitBefore waits until the listener before has appended what it read: lines stay in order.
func awaitBefore(before <-chan struct{}) {
	if before != nil {
		<-before
	}
}

func (l *Listener) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isDraining() {
		return false
	}
	l.serving.Add(1)
	l.readers.Add(1)
	l.beginning.Do(func() { close(l.begun) })
	return true
}

// Begun is closed when Serve has begun: a Shutdown from then on reads what the kernel holds.
func (l *Listener) Begun() <-chan struct{} {
	l.setUp()
	return l.begun
}

func (l *Listener) isDraining() bool { return l.reading.Err() != nil }

// askBuffer asks for the receive buffer, and returns what the kernel granted.
func (l *Listener) askBuffer(conn Conn) (got int) {
	got, err := setReceiveBuffer(conn, l.ReadBuffer)
	l.metrics.receiveBuffer().Set(float64(got))
	address := conn.LocalAddr().String()
	switch {
	case err != nil:
		l.Log.Warn("cannot set the receive buffer", "listener", address, "error", err)
	case got < l.ReadBuffer:
		l.Log.Warn("the kernel granted a smaller receive buffer than asked: bursts may be dropped, and will be counted",
			"listener", address, "asked", l.ReadBuffer, "got", got, "remedy", sysctlLine(l.ReadBuffer))
	default:
		l.Log.Info("receive buffer", "listener", address, "asked", l.ReadBuffer, "got", got)
	}
	return max(got, 64<<10)
}

// read hands datagrams to the handlers until Retire, or until Shutdown, and then what the kernel
// still holds: no more than its buffer, as a sender may never pause.
func (l *Listener) read(r *reader, s *Socket, address string, buffer int) {
	draining := false
	for left := 2 * buffer; left > 0; {
		if !draining && l.isDraining() {
			if l.retired.Load() { // what the kernel holds is another listener's
				return
			}
			draining = true
			l.beginDrain(r)
		}
		n, err := r.read()
		if err != nil && draining {
			return
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			// The socket goes on: an error may come from a peer's ICMP message.
			l.limited.Warn("udp_read", "cannot read datagrams, trying again", "listener", address, "error", err)
			retry.Pause(l.reading, 10*time.Millisecond)
		}
		now := time.Now()
		s.tick(now)
		for i := range n {
			d := Datagram{Time: now.UnixMicro()}
			if r.datagram(i, &d) {
				l.metrics.truncated().Inc()
				l.limited.Warn("truncated", "a datagram was too large, and its end is lost", "listener", address,
					"peer", d.Peer, "pid", d.PID, "kept", len(d.Data))
			}
			if draining {
				left -= len(d.Data) + 1
			}
			l.take(s, &d, address, now)
		}
		if n > 0 {
			l.metrics.read().Add(float64(n))
			s.q.wake()
		}
	}
}

func (l *Listener) beginDrain(r *reader) {
	if l.Private {
		r.refuse()
	}
	r.drain()
}

// take hands a datagram to the handlers, if its sender may send it.
func (l *Listener) take(s *Socket, d *Datagram, address string, now time.Time) {
	switch {
	case !l.Peers.Allowed(d.Peer):
		l.metrics.dropped("not_allowed").Inc()
		l.limited.Warn("not_allowed", "datagrams of an address that is not in allow were dropped: "+
			"add it if its lines are wanted", "listener", address, "peer", d.Peer)
	case l.rates.Allow(d.Peer, len(d.Data), now):
		s.handle(d)
	default:
		l.overRate.Add(1)
	}
}

// Retire stops reading, and returns when another listener may read from the socket, to which it
// leaves what the kernel holds. What was read is appended in the background, for which Shutdown
// waits; the other listener appends nothing before that, if both have the same Shared.
func (l *Listener) Retire() {
	l.setUp()
	l.mu.Lock()
	l.retired.Store(true)
	l.stop()
	l.mu.Unlock()
	l.readers.Wait()
}

// Shutdown stops reading, appends what was read and what the kernel still holds, and
// waits for the outcomes. When ctx ends first, it returns ctx's error; what was not
// appended then is counted.
func (l *Listener) Shutdown(ctx context.Context) error {
	l.setUp()
	l.mu.Lock()
	l.stop()
	l.mu.Unlock()
	defer l.giveUp()
	return ingest.Await(ctx, &l.serving)
}
