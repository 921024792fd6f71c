package collector

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"fanin/internal/daemon"
	"fanin/internal/escape"
	"fanin/internal/natsconn"
	"fanin/internal/ship"
	"fanin/internal/wire"
	"fanin/sink/relay"
)

// relayer forwards the log to another collector: a relay, and what carries its batches.
type relayer struct {
	*relay.Relay
	c    *server
	t    *relayTable
	to   string
	stop func()
}

// lastAnswer is how long a stop waits for the answer to what is on its way.
const lastAnswer = 2 * time.Second

// shipper carries batches to a collector that answers.
type shipper interface {
	wire.Appender
	Run(ctx context.Context) error
	Trouble() string
}

// prepareRelay makes the relay, which the sink asks before it removes a file.
func (c *server) prepareRelay() error {
	t := c.settings.Collector.Relay
	if t == nil {
		return nil
	}
	to := t.target().String()
	c.relay = &relayer{Relay: relay.New(c.sink, c.settings.state(), to, c.log), c: c, t: t, to: to, stop: func() {}}
	c.relay.Changed = c.sessions.EndRelays
	return nil
}

// begin forwards what is in the log, and what comes. The log is open.
func (r *relayer) begin(ctx context.Context) error {
	if r == nil {
		return nil
	}
	out, err := r.shipper()
	if err != nil {
		return &daemon.Exit{Code: daemon.ExitConfig, Err: fmt.Errorf("collector.relay: %w", err)}
	}
	r.carry(ctx, out)
	return nil
}

// carry forwards over a shipper, which ends after the forwarding: an answer may still come.
func (r *relayer) carry(ctx context.Context, out shipper) {
	r.Out, r.Trouble = out, out.Trouble
	ctx = context.WithoutCancel(ctx) // it forwards while the inputs drain
	forwarding, stop := context.WithCancel(ctx)
	connected, disconnect := context.WithCancel(ctx)
	var forwards, carries sync.WaitGroup
	forwards.Go(func() { r.Run(forwarding) }) // both end by end
	carries.Go(func() {
		if err := out.Run(connected); err != nil && connected.Err() == nil {
			r.c.log.Error("the relay cannot connect; correct [collector.relay] and restart", "to", r.to, "err", err)
		}
	})
	r.stop = func() {
		stop()
		forwards.Wait()
		disconnect()
		carries.Wait()
	}
}

// end ends the forwarding. What was not forwarded is in the log.
func (r *relayer) end() {
	if r != nil {
		r.stop()
	}
}

// shipper makes the one for the addresses of the table.
func (r *relayer) shipper() (shipper, error) {
	to, files := r.t.target(), r.t.TLS.Files(r.c.log)
	hello := r.Hello(wire.Hello{Agent: r.t.id(), Host: r.t.Host, Software: "fanin-collector " + daemon.Release})
	if to.Scheme != "nats" {
		t := &ship.TCP{Addrs: to.Addrs, Compress: r.t.Compress, Log: r.c.log, OnWelcome: r.Welcomed, Hello: hello,
			Timing: ship.Timing{Linger: lastAnswer}, Explain: files.ExplainClient}
		var err error
		if to.Scheme == "tls" {
			t.TLS, err = files.Client()
		}
		return t, err
	}
	login := r.t.login(to)
	if r.t.TLS != nil {
		var err error
		if login.TLS, err = files.Client(); err != nil {
			return nil, err
		}
	}
	if err := login.Check(); err != nil {
		return nil, err
	}
	return &ship.NATS{Login: login, Subject: natsconn.Subjects(r.t.subject()), Compress: r.t.Compress, Log: r.c.log,
		OnWelcome: r.Welcomed, Timing: ship.Timing{Linger: lastAnswer}, Explain: files.ExplainClient, Hello: hello}, nil
}

// welcome is the welcome of an agent or a relay that connects.
func (c *server) welcome(owner string) wire.Welcome {
	w := c.sink.Welcome(owner)
	w.About.Way = wire.Way{Known: true, Logs: []wire.StreamID{w.Log}}
	if c.relay != nil {
		w.About.Way = c.relay.Way()
	}
	return w
}

func printRelay(w io.Writer, r *relay.Status) {
	escape.Fprintf(w, "relay to %s: position=%s lag=%d bytes, lines=%d unrelayed=%d\n", r.To, r.Position, r.Lag,
		r.Lines, r.Expired)
	if r.Waits != "" {
		escape.Fprintf(w, "relay IS WAITING: %s\n", r.Waits)
	}
}
