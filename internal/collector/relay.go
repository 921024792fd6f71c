package collector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"fanin/internal/config"
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
	return &ship.NATS{Login: login, Subject: natsconn.Subjects(r.t.subject()), Stream: r.t.NATS.Stream,
		Compress: r.t.Compress, Log: r.c.log,
		OnWelcome: r.Welcomed, Explain: files.ExplainClient, Hello: hello,
		Timing: ship.Timing{Linger: lastAnswer, AnswerWithin: time.Duration(config.OrZero(r.t.NATS.AnswerWithin))}}, nil
}

// welcome is the welcome of an agent or a relay that connects.
func (c *server) welcome(owner string) wire.Welcome {
	w := c.sink.Welcome(owner)
	w.About.Way = wire.Way{Known: true, Logs: []wire.StreamID{w.Log}}
	if c.relay != nil {
		w.About.Way = c.relay.Way()
	}
	if c.partition != nil {
		w = c.partition.welcome(w)
	}
	return w
}

var errNoRelay = errors.New("the log is not forwarded: the configuration has no [collector.relay]")

// verifyUpstream compares the log with what the upstream has of it.
func (c *server) verifyUpstream(ctx context.Context) (relay.Report, error) {
	if c.relay == nil {
		return relay.Report{}, errNoRelay
	}
	return c.relay.Verify(ctx)
}

// upstreamError is the exit code of a report of both ends, nil if all is well.
func upstreamError(r *relay.Report) error {
	switch {
	case len(r.Problems) > 0:
		return daemon.Exitf(daemon.ExitFailure, "upstream %s: %d problems", r.To, len(r.Problems))
	case !r.OK():
		return daemon.Exitf(daemon.ExitLater, "upstream %s: it does not have all yet; ask again in a moment", r.To)
	}
	return nil
}

func printUpstream(w io.Writer, r *relay.Report) {
	name := "upstream " + r.To
	for _, p := range r.Problems {
		escape.Fprintf(w, "PROBLEM %s: %s\n", name, p)
	}
	for _, n := range []struct {
		count uint64
		what  string
	}{
		{r.Unrelayed, "lines were removed before they were forwarded: see UNRELAYED in the log"},
		{r.TooLong, "lines were too long to be forwarded"},
		{r.Doubted, "times lines may have been forwarded twice: see the collector's own log"},
	} {
		if n.count > 0 {
			escape.Fprintf(w, "note %s: since the start, %d %s\n", name, n.count, n.what)
		}
	}
	has := "it has nothing of this log, which ends at " + r.End
	switch {
	case r.Position != "" && r.LagBytes == 0:
		has = "it has this log up to " + r.Position + ", which was the end"
	case r.Position != "":
		has = "it has this log up to " + r.Position + ", which ends at " + r.End
	}
	word := "ok"
	switch {
	case len(r.Problems) > 0:
		word = fmt.Sprintf("%d problems", len(r.Problems))
	case !r.OK():
		word = "not all yet"
	}
	escape.Fprintf(w, "%s (log %s): %s: %s; %d lines, %d bytes wait here\n", name, cmp.Or(r.Upstream, "unknown"), word,
		has, r.LagLines, r.LagBytes)
}

func printRelay(w io.Writer, r *relay.Status) {
	escape.Fprintf(w, "relay to %s: position=%s lag=%d bytes, lines=%d unrelayed=%d\n", r.To, r.Position, r.Lag,
		r.Lines, r.Expired)
	if r.Waits != "" {
		escape.Fprintf(w, "relay IS WAITING: %s\n", r.Waits)
	}
}
