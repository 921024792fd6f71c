package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"fanin/ingest"
	"fanin/internal/broker"
	"fanin/internal/certs"
	"fanin/internal/config"
	"fanin/internal/daemon"
	"fanin/internal/wire"
)

type natsTable struct {
	URL          string       `toml:"url"`
	TLS          *clientTLS   `toml:"tls"`
	Insecure     bool         `toml:"insecure"`
	User         string       `toml:"user"`
	PasswordFile string       `toml:"password_file"`
	TokenFile    string       `toml:"token_file"`
	NKeyFile     string       `toml:"nkey_file"`
	CredsFile    string       `toml:"creds_file"`
	Agents       *string      `toml:"agents"`
	Subjects     []string     `toml:"subjects"`
	Queue        string       `toml:"queue"`
	Stream       string       `toml:"stream"`
	Durable      string       `toml:"durable"`
	Create       bool         `toml:"create"`
	Replicas     *int         `toml:"replicas"`
	Host         string       `toml:"host"`
	MaxLine      *config.Size `toml:"max_line"`
	Pending      *config.Size `toml:"pending"`
}

type clientTLS struct {
	CA         string `toml:"ca"`
	Cert       string `toml:"cert"`
	Key        string `toml:"key"`
	ServerName string `toml:"server_name"`
}

func (t *natsTable) login() broker.Login {
	return broker.Login{URL: t.URL, User: t.User, PasswordFile: t.PasswordFile, TokenFile: t.TokenFile, NKeyFile: t.NKeyFile, CredsFile: t.CredsFile}
}

// options are the library's, with the files read.
func (t *natsTable) options(log *slog.Logger) ([]nats.Option, error) {
	l := t.login()
	if t.TLS != nil {
		var err error
		if l.TLS, err = (certs.Files{Cert: t.TLS.Cert, Key: t.TLS.Key, CA: t.TLS.CA, ServerName: t.TLS.ServerName, Log: log}).Client(); err != nil {
			return nil, fmt.Errorf("tls of %s: %w", t.URL, err)
		}
	}
	return l.Options()
}

var (
	goodPrefix  = regexp.MustCompile(`^[A-Za-z0-9_/-]+(\.[A-Za-z0-9_/-]+)*$`)
	goodSubject = regexp.MustCompile(`^([^\s.*>]+|\*)(\.([^\s.*>]+|\*))*(\.>)?$|^>$`)
	goodName    = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
)

// agents is the prefix of the subjects where agents are met.
func (t *natsTable) agents() string {
	if t.Agents == nil {
		return "fanin"
	}
	return *t.Agents
}

func (s *settings) checkNATS(at string, t *natsTable) {
	if t.URL == "" {
		s.file.Problem(at+".url", "url is missing: the NATS server, as in url = \"nats://127.0.0.1:4222\"")
		return
	}
	l := t.login()
	if err := l.Check(); err != nil {
		s.file.Problem(at, "%v", err)
	} else if !l.Encrypted() && t.TLS == nil && !t.Insecure {
		s.file.Problem(at+".url", "url is %q, beyond this machine, and unencrypted: give it tls = {ca = \"...\"}, or say insecure = true (or --insecure) if the network is yours alone", t.URL)
	}
	if t.TLS != nil && (t.TLS.Cert == "") != (t.TLS.Key == "") {
		s.file.Problem(at+".tls", "tls has one of cert and key; it needs both, or neither")
	}
	prefix := t.agents()
	if prefix != "" && !goodPrefix.MatchString(prefix) {
		s.file.Problem(at+".agents", "agents is %q; want letters, digits, '_', '/' and '-', in parts by '.', without wildcards; or \"\" for none", prefix)
	}
	for _, subject := range t.Subjects {
		switch {
		case !goodSubject.MatchString(subject):
			s.file.Problem(at+".subjects", "%q is no subject; want parts by '.', '*' for any one and '>' for all that follow", subject)
		case prefix != "" && (subject == prefix || strings.HasPrefix(subject, prefix+".")):
			s.file.Problem(at+".subjects", "%q is where agents are met (agents = %q): give one of them another name", subject, prefix)
		}
	}
	if len(t.Subjects) == 0 && prefix == "" {
		s.file.Problem(at, "nothing to take: give it subjects = [\"logs.>\"], or agents")
	}
	for key, name := range map[string]string{"stream": t.Stream, "durable": t.Durable} {
		if name != "" && !goodName.MatchString(name) {
			s.file.Problem(at+"."+key, "%s is %q; want letters, digits, '_' and '-'", key, name)
		}
	}
	if t.Stream != "" && t.Queue != "" {
		s.file.Problem(at+".queue", "queue is for messages without a stream: collectors that share a stream have the same durable")
	}
	if t.Stream == "" {
		for key, set := range map[string]bool{"durable": t.Durable != "", "create": t.Create, "replicas": t.Replicas != nil} {
			if set {
				s.file.Problem(at+"."+key, "%s needs a stream, as in stream = \"LOGS\"", key)
			}
		}
	}
	if t.Replicas != nil && (*t.Replicas < 1 || *t.Replicas > 5) {
		s.file.Problem(at+".replicas", "replicas is %d; from 1 to 5", *t.Replicas)
	}
	if t.Pending != nil && (*t.Pending < 1<<20 || *t.Pending > 1<<30) {
		s.file.Problem(at+".pending", "pending is %s; from 1MiB to 1GiB", *t.Pending)
	}
	s.checkMaxLine(at, t.MaxLine)
}

// natsIn is one NATS server that lines come from, and go to.
type natsIn struct {
	url  string
	conn *nats.Conn
	in   *ingest.NATS
}

// natsStatus is one of them in `status --json`.
type natsStatus struct {
	URL     string `json:"url"`
	Trouble string `json:"trouble,omitempty"` // what is not taken, and why
}

// listenNATS connects to a server, which may be absent, and takes what comes.
func (c *server) listenNATS(t *natsTable) error {
	options, err := t.options(c.log)
	if err != nil {
		return &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	x := &natsIn{url: t.URL, in: &ingest.NATS{
		Out: c.sink, Welcome: c.sink.Welcome, Sessions: c.sessions, Room: c.room, Metrics: c.intake, Log: c.log, Notice: c.sink.Notice,
		Agents: wire.Subjects(t.agents()), Subjects: t.Subjects, Queue: t.Queue, Stream: t.Stream, Durable: t.Durable, Create: t.Create,
		Replicas: orZero(t.Replicas), Host: t.Host, MaxLine: int(orZero(t.MaxLine)), Pending: int(orZero(t.Pending)),
	}}
	lost := func(_ *nats.Conn, err error) {
		c.log.Warn("the connection to the NATS server was lost; trying again", "server", t.URL, "err", cmp.Or(err, errors.New("closed")))
	}
	x.conn, err = nats.Connect(t.URL, append([]nats.Option{
		nats.Name("fanin-collector " + c.sink.Status().Log), nats.ReconnectWait(500 * time.Millisecond), nats.ReconnectJitter(250*time.Millisecond, 250*time.Millisecond),
		nats.Timeout(5 * time.Second), nats.PingInterval(5 * time.Second), nats.MaxPingsOutstanding(2), nats.PermissionErrOnSubscribe(true),
		nats.ConnectHandler(func(nc *nats.Conn) { c.log.Info("connected to the NATS server", "server", nc.ConnectedUrlRedacted()) }),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			c.log.Info("connected to the NATS server again", "server", nc.ConnectedUrlRedacted())
			x.in.Refused(nil)
		}),
		nats.DisconnectErrHandler(func(nc *nats.Conn, err error) {
			if !nc.IsClosed() {
				lost(nc, err)
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) { x.in.Refused(err) }),
	}, options...)...)
	if err != nil {
		return fmt.Errorf("connect to the NATS server %s: %w", t.URL, err)
	}
	x.in.Conn = x.conn
	c.nats = append(c.nats, x)
	if !x.conn.IsConnected() {
		c.log.Warn("the NATS server is not there yet; it is tried again and again", "server", t.URL, "err", x.conn.LastError())
	}
	c.serve(listener{"nats", t.URL, x.in.Shutdown}, x.in.Serve)
	return nil
}

// closeNATS says the last words and closes the connections.
func (c *server) closeNATS() {
	for _, x := range c.nats {
		x.conn.FlushTimeout(time.Second)
		x.conn.Close()
	}
}

func (c *server) natsStatus() (list []natsStatus) {
	for _, x := range c.nats {
		list = append(list, natsStatus{x.url, x.in.Trouble()})
	}
	return list
}
