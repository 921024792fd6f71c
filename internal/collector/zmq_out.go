package collector

import (
	"context"
	"os"
	"strings"
	"sync"
	"time"

	"fanin/internal/config"
	"fanin/internal/daemon"
	"fanin/internal/escape"
	"fanin/internal/zmtp"
	zmqpush "fanin/sink/distribute/zmq"
	zmqpub "fanin/sink/livetail/zmq"
)

// zmqOuts is what goes out to ZeroMQ peers with one table.
type zmqOuts struct {
	s       *server
	at      []string // "push tcp://..."
	sockets zmqSockets
	push    *zmqpush.Output   // nil: none
	from    string            // where its group begins
	pub     *zmqpub.Publisher // nil: none

	end       context.CancelFunc // of the publisher
	published sync.WaitGroup
	served    sync.WaitGroup
}

func newZMQOuts(s *server) *zmqOuts { return &zmqOuts{s: s, end: func() {}} }

// heartbeat is how often a silent peer that asks is asked whether it is there.
const heartbeat = 15 * time.Second

// socket is a socket of the output or the status, without what serves its peers.
func (x *zmqOut) socket(s *server) (*zmtp.Socket, error) {
	security, err := x.access.security(len(x.endpoints.Bind) > 0)
	if err != nil {
		return nil, prefix(x.table, err)
	}
	o := zmtp.Options{Type: zmtp.SocketType(strings.ToUpper(x.key)), Security: security}
	o.CloseOversized = true
	if x.key == "rep" {
		o.MaxMessage = maxEnvelope
		o.Heartbeat, o.HeartbeatTimeout = heartbeat, 2*heartbeat
	} else { // no heartbeats: a PULL or SUB that is busy, and whose queue is full, does not answer
		o.MaxMessage = zmqpush.MaxMessage
		o.WriteTimeout = -1 // peers may be busy for any time
	}
	return &zmtp.Socket{Options: o, Bind: x.endpoints.bound(), Bound: s.sockets.bindZMQ,
		Connect:  x.endpoints.connected(),
		MaxConns: config.OrZero(x.access.MaxConns), Sends: x.key != "rep", Metrics: s.counters, Log: s.log}, nil
}

// open binds a socket.
func (z *zmqOuts) open(o *zmqOutput, key string, socket *zmtp.Socket) error {
	if key == "push" {
		z.push = &zmqpush.Output{Dial: z.s.work.Load().Connect, Group: o.Group, From: o.From,
			HWM: config.OrZero(o.HWM), Metrics: z.s.counters, Log: z.s.log}
		socket.Handle, z.from = z.push.Handle, o.From
	} else {
		z.pub = &zmqpub.Publisher{Sink: z.s.sink, HWM: config.OrZero(o.HWM), Sequence: o.Sequence,
			Metrics: z.s.counters, Log: z.s.log}
		socket.Handle = z.pub.Handle
	}
	if err := socket.Listen(); err != nil {
		return err
	}
	z.sockets = append(z.sockets, socket)
	z.at = append(z.at, key+" "+strings.Join(socket.Addrs(), " "))
	return nil
}

// begin begins to send: a group must be there before the first line.
func (z *zmqOuts) begin(context.Context) error {
	if z.push != nil {
		if err := z.s.work.Load().Create(z.push.Name(), z.from); err != nil {
			return &daemon.Exit{Code: daemon.ExitConfig, Err: err}
		}
	}
	for i, socket := range z.sockets {
		z.served.Go(func() { socket.Serve() }) // ends by stopOut
		escape.Fprintf(os.Stderr, "publishing zmq %s\n", z.at[i])
	}
	if z.pub != nil {
		var ctx context.Context
		ctx, z.end = context.WithCancel(context.Background())
		z.published.Go(func() { z.pub.Run(ctx) }) // ends by stopOut
	}
	return nil
}

// How long peers have at the end to take what they were sent. For PULL peers it counts as
// delivered.
const (
	pushTime = 6 * time.Second
	pubTime  = 2 * time.Second
)

// stopOut ends what goes out: a publisher first publishes the rest.
func (z *zmqOuts) stopOut() {
	z.end()
	z.published.Wait()
	limit := pubTime
	if z.push != nil {
		limit = pushTime
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	z.sockets.shutdown(ctx)
	z.served.Wait()
}

// troubles are what keeps lines from going out.
func (z *zmqOuts) troubles() []string {
	all := z.sockets.troubles()
	if z.push != nil && z.push.Trouble() != "" {
		all = append(all, z.push.Trouble())
	}
	return all
}

// subscribers are the peers of the PUB socket.
func (z *zmqOuts) subscribers() []zmqpub.Subscriber {
	if z.pub == nil {
		return nil
	}
	return z.pub.Subscribers()
}
