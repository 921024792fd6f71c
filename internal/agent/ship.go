package agent

import (
	"context"
	"crypto/tls"
	"log/slog"
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
	if a.settings.to.Scheme == "udp" {
		a.tailer.Out = &ship.UDP{Addr: a.settings.to.Addrs[0], Agent: c.ID, Host: c.Host, Datagram: int(c.Datagram)}
		a.tailer.MaxLine = min(a.tailer.MaxLine, 60<<10)
		return nil
	}
	var err error
	if a.instance, a.run, err = nextRun(a.instancePath()); err != nil {
		return err
	}
	if a.renewer, err = newRenewer(a.settings, a.log); err != nil {
		return &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	session := session{settings: a.settings, log: a.log, hello: a.settings.hello(a.instance, a.run),
		onWelcome: a.welcomed, known: a.tailer.Known, connected: a.serveNATS, renewer: a.renewer}
	if a.shipper, err = session.shipper(); err != nil {
		return err
	}
	a.tailer.Out = a.shipper
	if t := a.settings.Agent.Journal; t != nil {
		a.inputs = append(a.inputs, a.newJournal(t, a.shipper))
	}
	return nil
}

// hello is the greeting of the agent's own session.
func (s *settings) hello(instance wire.StreamID, run int64) wire.Hello {
	return wire.Hello{Agent: s.Agent.ID, Instance: instance, Run: run, Host: s.Agent.Host,
		Software: "fanin-agent " + daemon.Release}
}

// session is what a shipper is made from.
type session struct {
	settings  *settings
	log       *slog.Logger
	hello     wire.Hello
	onWelcome ship.OnWelcome
	known     func() wire.Welcome
	connected func(*nats.Conn) // may be nil
	renewer   *renewer         // learns of another authority; nil: none does
}

// shipper makes the one for the addresses of the settings, which are not udp.
func (s *session) shipper() (made shipper, err error) {
	if s.settings.to.Scheme == "nats" {
		made, err = s.nats()
	} else {
		made, err = s.tcp()
	}
	if err != nil {
		return nil, &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	return made, nil
}

// timing is how long a shipper waits.
func (s *session) timing() ship.Timing {
	c := &s.settings.Agent
	return ship.Timing{
		PingEvery: time.Duration(c.Ping), DeadAfter: time.Duration(c.DeadAfter),
		AnswerWithin: time.Duration(c.NATS.AnswerWithin), Linger: lastAnswers,
	}
}

func (s *session) tcp() (*ship.TCP, error) {
	c := &s.settings.Agent
	t := &ship.TCP{
		Addrs: s.settings.to.Addrs, Compress: c.Compress, Log: s.log, OnWelcome: s.onWelcome,
		Hello: s.hello, Timing: s.timing(),
	}
	var err error
	if s.settings.to.Scheme == "tls" {
		files := c.TLS.Files(s.log)
		t.Explain = files.ExplainClient
		var client func() *tls.Config
		client, err = files.Client()
		t.TLS = s.renewer.watch(client)
	}
	return t, err
}

func (s *session) nats() (*ship.NATS, error) {
	c := &s.settings.Agent
	login := s.settings.login()
	var err error
	if c.TLS != nil {
		if login.TLS, err = c.TLS.Files(s.log).Client(); err != nil {
			return nil, err
		}
	}
	if err := login.Check(); err != nil {
		return nil, err
	}
	if !login.Encrypted() {
		s.log.Warn("lines are sent over the network without encryption: set [agent] tls = {ca = \"...\"} if the "+
			"NATS server supports TLS", "server", login.URL)
	}
	return &ship.NATS{
		Login: login, Subject: natsconn.Subjects(c.NATS.Subject), Stream: c.NATS.Stream, Ack: c.NATS.Ack,
		Compress: c.Compress, Log: s.log, OnWelcome: s.onWelcome, Known: s.known, Connected: s.connected,
		Explain: c.TLS.Files(s.log).ExplainClient, Hello: s.hello, Timing: s.timing(),
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
