// Package zmq is the input from ZeroMQ peers: a PULL socket, which takes what PUSH sockets
// send, or a SUB socket, which takes what PUB sockets publish.
//
//	zmtp.Socket -- reader.serve        one goroutine for each peer
//	                 |
//	               reader.add          frames become lines, in blocks of the memory budget
//	                 |
//	               appender.hand       one block is appended while the next one is read
//	                 |
//	               appender.run -> Out.Append
//
// ZeroMQ has no acknowledgement: what a socket took is written once, in the order of each
// peer. A PULL never drops: while the log is busy it does not read, and its peers wait. A
// publisher does not wait, it drops without a word. So a SUB reads on while the log is busy,
// and what it has no memory for it drops itself, counted to the message and reported in the
// log. After a broken connection messages may be missing: each break is counted and
// reported, and their number is known only where messages are numbered (see Sequence).
package zmq

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"fanin/ingest"
	"fanin/internal/counters"
	"fanin/internal/lines"
	"fanin/internal/retry"
	"fanin/internal/wire"
	"fanin/internal/zmtp"
)

// Input receives lines over one ZeroMQ socket. Set the fields, then Listen, then Serve. Zero
// fields have the defaults named.
type Input struct {
	Out     wire.Appender                    // commits the lines; required
	Budget  *ingest.Budget                   // shared by the inputs of a process; nil: its own
	Metrics *ingest.Metrics                  // shared by the inputs of a process; nil: its own
	Inputs  *counters.Set                    // counts lines; shared by all of a process; nil: its own
	Log     *slog.Logger                     // nil: discard
	Notice  func(format string, args ...any) // reports in the log itself what was lost; nil: only counted

	Socket SocketOptions
	Lines  LineOptions
	Sub    SubOptions // of a SUB

	once      sync.Once
	socket    *zmtp.Socket
	lines     *counters.Input
	counts    counts
	wire      zmtp.Counts
	limited   *retry.Log
	report    *report
	sequences *sequences      // nil: messages are not numbered
	appending context.Context // of every Append: ends when a Shutdown is given up
	giveUp    context.CancelFunc
}

// SocketOptions are how peers are met.
type SocketOptions struct {
	Type     zmtp.SocketType // zmtp.Pull or zmtp.Sub; required
	Security zmtp.Security
	Bind     []zmtp.Endpoint
	Connect  []zmtp.Endpoint
	MaxConns int // default zmtp.DefaultMaxConns

	// Bound binds an endpoint, see zmtp.Socket; nil: as usual.
	Bound func(e zmtp.Endpoint, bind func() (net.Listener, error)) (net.Listener, error)
}

// LineOptions are how messages become lines.
type LineOptions struct {
	Source     string // of lines without a topic; default "zmq"
	Host       string // default: the peer's address
	MaxLine    int    // longer lines are split; default wire.MaxLine, at least 256 bytes
	MaxMessage int    // a larger message is skipped and counted; default zmtp.DefaultMaxMessage, at most MaxMessage
}

// MaxMessage is the largest limit of messages. Twice as much, which CURVE needs, must fit into a
// block of the memory budget, and with the marks of lines that are split into one batch.
const MaxMessage = 1 << 20

// SubOptions are what a SUB subscribes to.
type SubOptions struct {
	// Topics are the beginnings of the messages that are wanted; none, or "": all messages.
	// The first frame of a message with several frames is its topic, and the source of the
	// lines in the others.
	Topics []string
	// Sequence tells that the last frame of each message is a counter of the topic's
	// messages, 4 bytes, the lowest first, as Bitcoin Core sends it. It is no line; gaps are
	// counted and reported.
	Sequence bool
	// Pending bounds the bytes that wait while the log is busy, for each publisher; default
	// 6 MiB.
	Pending int
}

func (n *Input) setUp() {
	n.once.Do(func() {
		n.Budget, n.Metrics = cmp.Or(n.Budget, new(ingest.Budget)), cmp.Or(n.Metrics, new(ingest.Metrics))
		n.Inputs = cmp.Or(n.Inputs, new(counters.Set))
		n.Log = cmp.Or(n.Log, slog.New(slog.DiscardHandler))
		if n.Notice == nil {
			n.Notice = func(string, ...any) {}
		}
		n.Lines.Source = wire.CleanSource(cmp.Or(n.Lines.Source, "zmq"))
		n.Lines.Host = wire.CleanHost(n.Lines.Host)
		n.Lines.MaxLine = min(max(cmp.Or(n.Lines.MaxLine, wire.MaxLine), lines.MinLimit), wire.MaxLine)
		n.Lines.MaxMessage = min(cmp.Or(n.Lines.MaxMessage, zmtp.DefaultMaxMessage), MaxMessage)
		n.Sub.Pending = cmp.Or(n.Sub.Pending, 6<<20)
		if len(n.Sub.Topics) == 0 {
			n.Sub.Topics = []string{""}
		}
		if n.Sub.Sequence {
			n.sequences = newSequences()
		}
		n.lines = n.Inputs.New("zmq", counters.None)
		n.counts.init(n.Metrics, n.Socket.Type)
		n.limited = retry.NewLog(n.Log)
		n.report = newReport(n.Socket.Type, n.Notice)
		n.appending, n.giveUp = context.WithCancel(context.Background())
		n.socket = n.newSocket()
	})
}

// heartbeat is how often a silent peer is asked whether it is there. A peer that says
// nothing for twice as long is gone.
const heartbeat = 15 * time.Second

func (n *Input) newSocket() *zmtp.Socket {
	return &zmtp.Socket{
		Options: zmtp.Options{Type: n.Socket.Type, Security: n.Socket.Security, MaxMessage: n.Lines.MaxMessage,
			Heartbeat: heartbeat, HeartbeatTimeout: 2 * heartbeat, Counts: &n.wire},
		Bind: n.Socket.Bind, Bound: n.Socket.Bound, Connect: n.Socket.Connect, Handle: n.serve,
		Lend:     func(l *zmtp.Link) zmtp.Memory { return &loan{n: n, l: l} },
		MaxConns: n.Socket.MaxConns, ReadRest: true, Metrics: n.Metrics, Log: n.Log,
	}
}

// Listen binds the endpoints that are to be bound.
func (n *Input) Listen() error {
	n.setUp()
	return n.socket.Listen()
}

// Addrs returns the endpoints of the socket, with the ports that it got.
func (n *Input) Addrs() []string { return n.socket.Addrs() }

// Serve receives messages until Shutdown.
func (n *Input) Serve() error {
	n.setUp()
	stop := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() { n.watch(stop) }) // ends with Serve
	err := n.socket.Serve()
	close(stop)
	watching.Wait()
	if errors.Is(err, zmtp.ErrClosed) {
		return ingest.ErrServerClosed
	}
	return err
}

// watch reports what was lost, and what the connections skipped.
func (n *Input) watch(stop <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			n.countSkipped()
			n.report.flush(false)
		case <-stop:
			return
		}
	}
}

// countSkipped counts the messages that were too large.
func (n *Input) countSkipped() {
	if skipped := n.wire.Skipped.Swap(0); skipped > 0 {
		n.counts.skipped.Add(float64(skipped))
		n.report.add(tooLarge, int(skipped), "")
	}
}

// Shutdown unbinds, reads what has arrived, and waits for every outcome. When ctx ends first,
// it closes all connections, counts what was not appended, and returns ctx's error.
func (n *Input) Shutdown(ctx context.Context) error {
	n.setUp()
	defer n.giveUp()
	defer context.AfterFunc(ctx, n.giveUp)() // what waits for the log ends before the socket returns
	err := n.socket.Shutdown(ctx)
	n.countSkipped()
	n.report.flush(true)
	return err
}

// Close unbinds.
func (n *Input) Close() { n.socket.Close() }

// Trouble names the peers that cannot be connected to; "" if there are none.
func (n *Input) Trouble() string { return n.socket.Trouble() }
