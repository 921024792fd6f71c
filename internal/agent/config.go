package agent

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"fanin/internal/certs"
	"fanin/internal/config"
	"fanin/internal/daemon"
	"fanin/internal/natsconn"
	"fanin/internal/tail"
	"fanin/internal/wire"
)

// settings is the configuration file. Every field has its default before the
// file is read; config.example.toml says what each means.
type settings struct {
	Agent agent `toml:"agent"`
	file  *config.File
	to    target
}

type agent struct {
	ID        string          `toml:"id"`
	Host      string          `toml:"host"`
	State     string          `toml:"state"`
	To        []string        `toml:"to"`
	TLS       *tlsTable       `toml:"tls"`
	Compress  string          `toml:"compress"`
	MaxLine   config.Size     `toml:"max_line"`
	BatchSize config.Size     `toml:"batch_size"`
	Memory    config.Size     `toml:"memory"`
	Datagram  config.Size     `toml:"datagram_size"`
	Poll      config.Duration `toml:"poll"`
	Grace     config.Duration `toml:"grace"`
	Settle    config.Duration `toml:"settle"`
	LetGo     config.Duration `toml:"let_go"`
	Forget    config.Duration `toml:"forget"`
	Ping      config.Duration `toml:"ping"`
	DeadAfter config.Duration `toml:"dead_after"`
	Stop      config.Duration `toml:"stop_timeout"`
	LogLevel  string          `toml:"log_level"`
	NATS      natsTable       `toml:"nats"`
	File      []fileTable     `toml:"file"`
}

type natsTable struct {
	Subject      string          `toml:"subject"`
	Stream       string          `toml:"stream"`
	Ack          string          `toml:"ack"`
	AnswerWithin config.Duration `toml:"answer_within"`
	User         string          `toml:"user"`
	PasswordFile string          `toml:"password_file"`
	TokenFile    string          `toml:"token_file"`
	NKeyFile     string          `toml:"nkey_file"`
	CredsFile    string          `toml:"creds_file"`
}

type tlsTable struct {
	CA         string `toml:"ca"`
	Cert       string `toml:"cert"`
	Key        string `toml:"key"`
	ServerName string `toml:"server_name"`
}

type fileTable struct {
	Paths      []string `toml:"paths"`
	Exclude    []string `toml:"exclude"`
	From       string   `toml:"from"`
	Source     string   `toml:"source"`
	SyncSource bool     `toml:"sync_source"`
}

// target is where lines go: a scheme, and addresses of one log.
type target struct {
	scheme string
	addrs  []string
}

func (t target) String() string {
	if t.scheme == "nats" {
		return strings.Join(t.addrs, ",")
	}
	return t.scheme + "://" + strings.Join(t.addrs, ",")
}

func defaults() *settings {
	return &settings{Agent: agent{
		Compress: "auto", MaxLine: 1 << 20, BatchSize: 1 << 20, Memory: 12 << 20, Datagram: 1400, LogLevel: "info",
		Poll: config.Duration(250 * time.Millisecond), Grace: config.Duration(5 * time.Second), Settle: config.Duration(10 * time.Second),
		NATS:  natsTable{Subject: "fanin", Ack: "commit", AnswerWithin: config.Duration(15 * time.Second)},
		LetGo: config.Duration(10 * time.Minute), Forget: config.Duration(24 * time.Hour), Ping: config.Duration(5 * time.Second), DeadAfter: config.Duration(15 * time.Second),
		Stop: config.Duration(10 * time.Second),
	}, file: &config.File{}}
}

// load makes the settings from the file and the flags, which win. All mistakes
// of both come in one error.
func (o *options) load(paths []string) (*settings, error) {
	s := defaults()
	if o.config != "" {
		file, err := config.Load(o.config, s, "collector")
		if err != nil {
			return nil, &daemon.Exit{Code: daemon.ExitConfig, Err: err}
		}
		s.file = file
	}
	a := &s.Agent
	a.ID = cmp.Or(o.id, a.ID)
	if a.ID == "" {
		a.ID, _ = os.Hostname()
	}
	a.State = cmp.Or(o.state, a.State, stateDir(a.ID))
	if o.to != "" {
		a.To = []string{o.to}
	}
	if o.ca != "" {
		a.TLS = &tlsTable{CA: o.ca}
	}
	if len(paths) > 0 {
		a.File = []fileTable{{Paths: paths, Source: o.source}}
	}
	s.check()
	if err := s.file.Err(); err != nil {
		return nil, &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	a.Host = cmp.Or(a.Host, s.defaultHost())
	return s, nil
}

// defaultHost is the name of this host, or the agent's id where a collector would
// not believe the name: over NATS, and beside a certificate that does not bear it.
func (s *settings) defaultHost() string {
	a := &s.Agent
	host, _ := os.Hostname()
	believed := s.to.scheme != "nats"
	if a.TLS != nil && a.TLS.Cert != "" {
		names, err := certs.Names(a.TLS.Cert)
		believed = believed && (err != nil || slices.Contains(names, host)) // the error is said when it is used
	}
	if !believed || host == "" {
		return a.ID
	}
	return host
}

// stateDir is where an agent keeps its state unless it is told: what the service
// manager made for it, or the user's own place.
func stateDir(id string) string {
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" {
		return dir
	}
	dir := os.Getenv("XDG_STATE_HOME")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		dir = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(dir, "fanin-agent", id)
}

var goodID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

// check notes every mistake that the file's own grammar cannot know.
func (s *settings) check() {
	a := &s.Agent
	if !goodID.MatchString(a.ID) {
		s.file.Problem("agent.id", "id is %q; want letters, digits, '.', '_' and '-' (or --id)", a.ID)
	}
	if a.State == "" {
		s.file.Problem("agent.state", "state is missing, and there is no home directory to put it (or --state)")
	}
	if a.ID == wire.SourceNotice {
		s.file.Problem("agent.id", "id is %q, which is the collector's own name in the log: choose another (or --id)", a.ID)
	}
	s.checkTo()
	s.oneOf("agent.compress", a.Compress, "auto", "zstd", "none")
	s.oneOf("agent.log_level", a.LogLevel, "debug", "info", "warn", "error")
	s.between("agent.max_line", a.MaxLine, 256, 1<<20)
	s.between("agent.batch_size", a.BatchSize, 64<<10, 4<<20)
	s.between("agent.memory", a.Memory, 4<<20, 1<<40)
	s.between("agent.datagram_size", a.Datagram, 256, 60<<10)
	if a.Forget < config.Duration(time.Minute) {
		s.file.Problem("agent.forget", "forget is %s; at least 1m", a.Forget)
	}
	s.checkNATS()
	if a.TLS != nil && (a.TLS.Cert == "") != (a.TLS.Key == "") {
		s.file.Problem("agent.tls", "tls has one of cert and key; it needs both, or neither")
	}
	s.checkFiles()
}

func (s *settings) between(path string, v, least, most config.Size) {
	if v < least || v > most {
		s.file.Problem(path, "%s is %s; from %s to %s", filepath.Ext(path)[1:], v, least, most)
	}
}

func (s *settings) oneOf(path, value string, known ...string) {
	for _, k := range known {
		if value == k {
			return
		}
	}
	s.file.Problem(path, "%s is %q; want one of %q", filepath.Ext(path)[1:], value, known)
}

// checkTo reads the addresses: all of one kind, since they lead to one log.
func (s *settings) checkTo() {
	a := &s.Agent
	if len(a.To) == 0 {
		s.file.Problem("agent.to", "to is missing: the collector's address, as in to = [\"tcp://collector:6789\"] (or --to)")
	}
	for _, to := range a.To {
		scheme, addr, err := parseTo(to)
		if err != nil {
			s.file.Problem("agent.to", "%v", err)
			continue
		}
		if s.to.scheme != "" && s.to.scheme != scheme {
			s.file.Problem("agent.to", "%q and %s:// do not go together: all addresses lead to one log, one way", to, s.to.scheme)
		}
		s.to.scheme = scheme
		s.to.addrs = append(s.to.addrs, addr)
	}
	if a.TLS != nil && s.to.scheme != "" && s.to.scheme != "tls" && s.to.scheme != "nats" {
		s.file.Problem("agent.tls", "tls is given, but to says %s://; write tls://", s.to.scheme)
	}
	if s.to.scheme == "udp" && len(s.to.addrs) > 1 {
		s.file.Problem("agent.to", "one address for udp: nobody answers, so none can be known to be gone")
	}
}

func parseTo(to string) (scheme, addr string, err error) {
	u, err := url.Parse(to)
	if err != nil || u.Scheme == "" || u.Host == "" {
		u = &url.URL{Scheme: "tcp", Host: to}
	}
	switch u.Scheme {
	case "tcp", "tls", "udp":
	case "nats":
		return "nats", "nats://" + u.Host, natsconn.CheckURL(to)
	default:
		return "", "", fmt.Errorf("%q: want tcp://, tls://, udp:// or nats:// before host:port", to)
	}
	if _, port, err := net.SplitHostPort(u.Host); err != nil || port == "" {
		return "", "", fmt.Errorf("%q: want host:port, as in \"tcp://collector:6789\"", to)
	}
	return u.Scheme, u.Host, nil
}

var goodSubject = regexp.MustCompile(`^[A-Za-z0-9_/-]+(\.[A-Za-z0-9_/-]+)*$`)

func (s *settings) checkNATS() {
	n := &s.Agent.NATS
	if !goodSubject.MatchString(n.Subject) {
		s.file.Problem("agent.nats.subject", "subject is %q; want letters, digits, '_', '/' and '-', in parts by '.', without wildcards", n.Subject)
	}
	s.oneOf("agent.nats.ack", n.Ack, "commit", "stream")
	if n.Ack == "stream" && n.Stream == "" {
		s.file.Problem("agent.nats.ack", "ack = \"stream\" needs a stream, as in stream = \"LOGS\"")
	}
	if n.AnswerWithin < config.Duration(time.Second) {
		s.file.Problem("agent.nats.answer_within", "answer_within is %s; at least 1s", n.AnswerWithin)
	}
	login := s.login()
	if login.URL == "" {
		return
	}
	if err := login.CheckSecrets(); err != nil {
		s.file.Problem("agent.nats", "%v", err)
	}
}

// login is how to connect to the NATS server; its TLS is not set.
func (s *settings) login() natsconn.Login {
	if s.to.scheme != "nats" {
		return natsconn.Login{}
	}
	n := &s.Agent.NATS
	return natsconn.Login{URL: strings.Join(s.to.addrs, ","), User: n.User, PasswordFile: n.PasswordFile, TokenFile: n.TokenFile, NKeyFile: n.NKeyFile, CredsFile: n.CredsFile}
}

// tables are the files to follow.
func (s *settings) tables() (tables []tail.Table) {
	for _, f := range s.Agent.File {
		t := tail.Table{Exclude: f.Exclude, FromEnd: f.From == "end", Source: f.Source, SyncSource: f.SyncSource}
		for _, p := range f.Paths {
			if abs, err := filepath.Abs(p); err == nil {
				p = abs
			}
			t.Paths = append(t.Paths, p)
		}
		tables = append(tables, t)
	}
	return tables
}
