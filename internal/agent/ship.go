package agent

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"fanin/internal/daemon"
	"fanin/internal/natsconn"
	"fanin/internal/ship"
	"fanin/internal/wire"
)

// shipper sends lines to a collector that answers.
type shipper interface {
	wire.Appender
	Run(ctx context.Context) error
	Trouble() string
}

// lastAnswers is how long a stop waits for answers: a saved position that includes them keeps lines
// from being sent twice if the collector loses its state meanwhile.
const lastAnswers = 2 * time.Second

// ship makes the shipper and connects the tailer to it.
func (a *agent) ship() error {
	c := &a.settings.Agent
	if a.settings.to.scheme == "udp" {
		a.tailer.Out = &ship.UDP{Addr: a.settings.to.addrs[0], Agent: c.ID, Host: c.Host, Datagram: int(c.Datagram)}
		a.tailer.MaxLine = min(a.tailer.MaxLine, 60<<10)
		return nil
	}
	var err error
	if a.instance, a.run, err = nextRun(a.instancePath()); err != nil {
		return err
	}
	hello := wire.Hello{Agent: c.ID, Instance: a.instance, Run: a.run, Host: c.Host, Software: "fanin-agent " +
		daemon.Release}
	if a.settings.to.scheme == "nats" {
		a.shipper, err = a.nats(hello)
	} else {
		a.shipper, err = a.tcp(hello)
	}
	if err != nil {
		return &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	a.tailer.Out = a.shipper
	return nil
}

// timing is how long a shipper waits.
func (a *agent) timing() ship.Timing {
	c := &a.settings.Agent
	return ship.Timing{
		PingEvery: time.Duration(c.Ping), DeadAfter: time.Duration(c.DeadAfter),
		AnswerWithin: time.Duration(c.NATS.AnswerWithin), Linger: lastAnswers,
	}
}

func (a *agent) tcp(hello wire.Hello) (*ship.TCP, error) {
	c := &a.settings.Agent
	t := &ship.TCP{
		Addrs: a.settings.to.addrs, Compress: c.Compress, Log: a.log, OnWelcome: a.tailer.Welcome,
		Hello: hello, Timing: a.timing(),
	}
	var err error
	if a.settings.to.scheme == "tls" {
		files := c.TLS.Files(a.log)
		t.Explain = files.ExplainClient
		t.TLS, err = files.Client()
	}
	return t, err
}

func (a *agent) nats(hello wire.Hello) (*ship.NATS, error) {
	c := &a.settings.Agent
	login := a.settings.login()
	var err error
	if c.TLS != nil {
		if login.TLS, err = c.TLS.Files(a.log).Client(); err != nil {
			return nil, err
		}
	}
	if err := login.Check(); err != nil {
		return nil, err
	}
	if !login.Encrypted() {
		a.log.Warn("lines are sent over the network without encryption: set [agent] tls = {ca = \"...\"} if the "+
			"NATS server supports TLS", "server", login.URL)
	}
	return &ship.NATS{
		Login: login, Subject: natsconn.Subjects(c.NATS.Subject), Stream: c.NATS.Stream, Ack: c.NATS.Ack,
		Compress: c.Compress, Log: a.log, OnWelcome: a.tailer.Welcome, Known: a.tailer.Known, Connected: a.serveNATS,
		Explain: c.TLS.Files(a.log).ExplainClient, Hello: hello, Timing: a.timing(),
	}, nil
}

// serveNATS answers requests over NATS.
func (a *agent) serveNATS(nc *nats.Conn) {
	c := &a.settings.Agent
	s := natsconn.Service{
		Prefix: c.NATS.Subject, Role: "agent", ID: c.ID, Version: daemon.Release,
		Metadata: map[string]string{"host": c.Host},
		Stats:    func() any { return a.counts() },
		Endpoints: map[string]func(context.Context) (any, error){
			"status": func(context.Context) (any, error) { return a.status(), nil },
		},
	}
	if err := s.Serve(nc); err != nil {
		a.log.Warn("this agent cannot answer requests over NATS", "err", err)
	}
}
