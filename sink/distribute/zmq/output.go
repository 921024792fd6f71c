// Package zmq is the output to PULL peers of a ZeroMQ PUSH socket: each line of its group
// is one message to one of them.
package zmq

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"fanin/internal/retry"
	"fanin/internal/zmtp"
	"fanin/sink/distribute/carry"
	"fanin/sink/distribute/protocol"
)

// Output pushes the lines of one group to the peers of a PUSH socket. Set the fields; Handle
// is the socket's. Zero fields take the defaults named.
//
// A message is one frame: the line as in the file, without its newline. Each peer is a
// worker of the group. So the distributor gives each line to one of them, in turn to those
// that have room, and without any it keeps the lines in the log.
//
// ZeroMQ has no acknowledgement. A line is done when the kernel has taken all of its
// message. If the connection breaks before, the line goes to another peer: no peer can have
// it whole. What the kernel had taken, and the peer had not read, is then lost; such
// connections are counted.
type Output struct {
	Dial  func(ctx context.Context) (net.Conn, error) // to the work distributor; required
	Group string                                      // default DefaultGroup
	From  string                                      // where a new group begins, as for any worker
	HWM   int                                         // lines that may wait for one peer; default DefaultHWM

	Metrics zmtp.Metrics // nil: nothing is counted
	Log     *slog.Logger // nil: discard

	once    sync.Once
	limited *retry.Log
	peers   atomic.Int64

	lines, returned, broken prometheus.Counter
}

// Defaults of an Output.
const (
	DefaultGroup = "zmq"
	DefaultHWM   = 4000
)

// MaxMessage is for the socket's options: a PULL sends no messages.
const MaxMessage = 256

func (o *Output) setUp() {
	o.once.Do(func() {
		o.Group, o.HWM = cmp.Or(o.Group, DefaultGroup), cmp.Or(o.HWM, DefaultHWM)
		o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
		o.limited = retry.NewLog(o.Log)
		m := o.Metrics
		if m == nil {
			m = zmtp.NoMetrics{}
		}
		o.lines = m.Counter("fanin_zmq_push_lines_total", "Lines that PUSH sockets have sent: the kernel took them.",
			"", "")
		o.returned = m.Counter("fanin_zmq_push_returned_lines_total",
			"Lines that were not sent to the PULL peer they were meant for; they go to another one.", "", "")
		o.broken = m.Counter("fanin_zmq_push_broken_total",
			"Connections to PULL peers that ended: what was sent and not read is lost.", "", "")
	})
}

// Name returns the name of the group.
func (o *Output) Name() string {
	o.setUp()
	return o.Group
}

// Trouble returns what keeps lines from being pushed now, or "".
func (o *Output) Trouble() string {
	o.setUp()
	if o.peers.Load() > 0 {
		return ""
	}
	return "no peer is connected; lines wait in the group " + o.Group
}

// Handle gives lines to one peer until the connection ends. It is a zmtp.Handler.
func (o *Output) Handle(ctx context.Context, l *zmtp.Link) error {
	o.setUp()
	o.peers.Add(1)
	defer o.peers.Add(-1)
	ctx, stop := context.WithCancelCause(ctx)
	p := &peer{link: l, stop: stop, sent: o.lines, gone: make(chan struct{})}
	go p.read() // ends with the connection, which is awaited below
	loop := &carry.Loop{Dial: o.Dial, Send: p.send, Target: "ZeroMQ peer " + l.Remote, Log: o.Log,
		Options: protocol.Hello{Group: o.Group, From: o.From, Name: "ZeroMQ " + l.Remote, Credit: o.HWM,
			Batch: max(o.HWM/2, 1)}}
	refused := loop.Run(ctx)
	if refused != nil {
		o.limited.Error("refused", "lines are not pushed to a ZeroMQ peer", "peer", l.Remote, "group", o.Group, "err",
			refused)
		stop(refused)
	}
	if l.Stopped() {
		l.Finish(p.gone)
	} else {
		o.broken.Inc()
	}
	l.Close()
	<-p.gone
	o.returned.Add(float64(loop.Counts().Released))
	return context.Cause(ctx)
}

// peer is one connection to a PULL socket.
type peer struct {
	link *zmtp.Link
	stop context.CancelCauseFunc
	sent prometheus.Counter
	gone chan struct{} // closed when the connection has ended
}

// read waits until the connection ends, which ends a send: a PULL sends nothing.
func (p *peer) read() {
	defer close(p.gone)
	for {
		if _, err := p.link.Receive(); err != nil {
			p.stop(err)
			return
		}
	}
}

// send sends lines, and sets the outcome of those that the kernel has taken whole. It is a
// carry.Send. After an error the peer gets no more lines: the loop returns what is left.
func (p *peer) send(_ context.Context, lines []carry.Line) error {
	before := p.link.Taken()
	var err error
	for i := range lines {
		if err = p.link.Send(lines[i].Text); err != nil {
			break
		}
	}
	if err == nil {
		err = p.link.Flush()
	}
	taken := p.link.Taken() - before
	for i := range lines[:taken] {
		lines[i].Carried()
	}
	p.sent.Add(float64(taken))
	if err != nil {
		p.stop(err)
	}
	return err
}
