package agent

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"fanin/internal/certs"
	"fanin/internal/config"
	"fanin/internal/config/tables"
	"fanin/internal/daemon"
	"fanin/internal/machine"
	"fanin/internal/natsconn"
	"fanin/internal/spool"
	"fanin/internal/tail"
	"fanin/internal/wire"
)

// settings is the configuration file. Every field has its default before the
// file is read; config.example.toml explains each.
type settings struct {
	Agent agentTable `toml:"agent"`
	file  *config.File
	to    tables.Target
	sends bool // files are named by the arguments of send
}

type agentTable struct {
	ID        string            `toml:"id"`
	Host      string            `toml:"host"`
	State     string            `toml:"state"`
	To        []string          `toml:"to"`
	TLS       *tables.ClientTLS `toml:"tls"`
	Compress  string            `toml:"compress"`
	MaxLine   config.Size       `toml:"max_line"`
	BatchSize config.Size       `toml:"batch_size"`
	Memory    config.Size       `toml:"memory"`
	Datagram  config.Size       `toml:"datagram_size"`
	MaxFiles  *int              `toml:"max_files"`
	LogLevel  string            `toml:"log_level"`
	NATS      natsTable         `toml:"nats"`
	File      []fileTable       `toml:"file"`
	Journal   *journalTable     `toml:"journal"`
	Stdin     *stdinTable       `toml:"stdin"`
	Spool     spoolTable        `toml:"spool"`
	HTTP      *httpTable        `toml:"http"`
	Unix      []unixTable       `toml:"unix"`
	timings
}

// timings are how long the agent waits for things, in its own table.
type timings struct {
	Poll      config.Duration `toml:"poll"`
	Grace     config.Duration `toml:"grace"`
	Settle    config.Duration `toml:"settle"`
	LetGo     config.Duration `toml:"let_go"`
	Forget    config.Duration `toml:"forget"`
	Ping      config.Duration `toml:"ping"`
	DeadAfter config.Duration `toml:"dead_after"`
	Stop      config.Duration `toml:"stop_timeout"`
}

type natsTable struct {
	Subject      string          `toml:"subject"`
	Stream       string          `toml:"stream"`
	Ack          string          `toml:"ack"`
	AnswerWithin config.Duration `toml:"answer_within"`
	tables.NATSLogin
}

type fileTable struct {
	Paths       []string        `toml:"paths"`
	Exclude     []string        `toml:"exclude"`
	IgnoreOlder config.Duration `toml:"ignore_older"`
	From        string          `toml:"from"`
	Source      string          `toml:"source"`
	SyncSource  bool            `toml:"sync_source"`
	textKeys
}

func defaults() *settings {
	return &settings{Agent: agentTable{
		Compress: "auto", MaxLine: 1 << 20, BatchSize: 1 << 20, Memory: 12 << 20, Datagram: 1400, LogLevel: "info",
		Spool: spoolTable{MaxBytes: 1 << 30, WhenFull: string(spool.Block)},
		NATS:  natsTable{Subject: "fanin", Ack: "commit", AnswerWithin: config.Duration(15 * time.Second)},
		timings: timings{
			Poll: config.Duration(250 * time.Millisecond), Grace: config.Duration(5 * time.Second),
			Settle: config.Duration(10 * time.Second), LetGo: config.Duration(10 * time.Minute),
			Forget: config.Duration(24 * time.Hour), Ping: config.Duration(5 * time.Second),
			DeadAfter: config.Duration(15 * time.Second), Stop: config.Duration(10 * time.Second),
		},
	}, file: &config.File{}}
}

// load makes the settings from the file and the flags, which win. All mistakes
// of both come in one error.
func (o *options) load(paths []string) (*settings, error) {
	s := defaults()
	if slices.Contains(paths, standardInput) {
		s.Agent.LogLevel = "warn" // as a part of a pipeline it says nothing while all is well
	}
	s.sends = o.sends
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
		a.TLS = &tables.ClientTLS{CA: o.ca}
	}
	if len(paths) > 0 {
		o.setPaths(a, paths)
	}
	s.check()
	if err := s.file.Err(); err != nil {
		return nil, &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	a.Host = cmp.Or(a.Host, s.defaultHost())
	return s, nil
}

// standardInput is the argument that stands for it.
const standardInput = "-"

// setPaths sets what arguments name. Files replace those of the configuration, and standard
// input replaces all of its sources: an agent may run that has these.
func (o *options) setPaths(a *agentTable, paths []string) {
	files := slices.DeleteFunc(slices.Clone(paths), func(p string) bool { return p == standardInput })
	a.File, a.Journal, a.Unix = nil, nil, nil
	if len(files) > 0 {
		a.File = []fileTable{{Paths: files, Source: o.source}}
	}
	if len(files) == len(paths) {
		return
	}
	if a.Stdin == nil {
		a.Stdin = new(stdinTable)
	}
	a.Stdin.Source = cmp.Or(o.source, a.Stdin.Source)
	if o.wait >= 0 {
		a.Stdin.Wait = (*config.Duration)(&o.wait)
	}
}

// onlyStdin reports whether standard input is the only source.
func (s *settings) onlyStdin() bool {
	a := &s.Agent
	return a.Stdin != nil && len(a.File) == 0 && a.Journal == nil && len(a.Unix) == 0
}

// defaultHost is the name of this host, or the agent's id where a collector would not accept
// the name: over NATS, and with a certificate that does not have it.
func (s *settings) defaultHost() string {
	a := &s.Agent
	host, _ := os.Hostname()
	accepted := s.to.Scheme != "nats"
	if a.TLS != nil && a.TLS.Cert != "" {
		names, err := certs.Names(a.TLS.Cert)
		accepted = accepted && (err != nil || slices.Contains(names, host)) // the error is reported when it is used
	}
	if !accepted || host == "" {
		return a.ID
	}
	return host
}

// stateDir is where an agent keeps its state by default: the directory that the service
// manager made for it, or one of the user's.
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

// check reports every mistake that the file's own grammar cannot know.
func (s *settings) check() {
	a, at := &s.Agent, s.file.Table("agent")
	if !goodID.MatchString(a.ID) {
		at.Problem("id", "id is %q; want letters, digits, '.', '_' and '-' (or --id)", a.ID)
	}
	if a.State == "" {
		at.Problem("state", "state is missing, and there is no home directory for it (or --state)")
	}
	if a.ID == wire.SourceNotice {
		at.Problem("id", "id is %q, which is the collector's own name in the log: choose another (or --id)", a.ID)
	}
	s.checkTo(at)
	at.OneOf("compress", a.Compress, "auto", "zstd", "none")
	at.OneOf("log_level", a.LogLevel, "debug", "info", "warn", "error")
	at.SizeBetween("max_line", &a.MaxLine, 256, 1<<20)
	at.SizeBetween("batch_size", &a.BatchSize, 64<<10, 4<<20)
	at.SizeBetween("memory", &a.Memory, 4<<20, 1<<40)
	at.SizeBetween("datagram_size", &a.Datagram, 256, 60<<10)
	at.AtLeast("max_files", a.MaxFiles, 1)
	at.DurationAtLeast("forget", &a.Forget, time.Minute)
	s.checkNATS(at.Sub("nats"))
	a.HTTP.check(at.Sub("http"))
	s.checkStdin(at.Sub("stdin"))
	s.checkSpool(at.Sub("spool"))
	s.checkUnix()
	s.checkFiles()
	s.checkJournal(at.Sub("journal"))
}

func (s *settings) checkStdin(at config.Table) {
	t := s.Agent.Stdin
	switch {
	case t == nil:
		return
	case s.to.Scheme == "udp":
		at.Problem("", "lines of standard input are kept until they are acknowledged, and udp acknowledges nothing: "+
			"write tcp:// or tls://")
	case t.Source == wire.SourceNotice:
		at.Problem("source", "source is %q, which is the collector's own name in the log: choose another", t.Source)
	}
	at.DurationAtLeast("wait", t.Wait, 0)
}

// checkTo reads the addresses: all of one kind, since they lead to one log.
func (s *settings) checkTo(at config.Table) {
	a := &s.Agent
	if len(a.To) == 0 {
		at.Problem("to", "to is missing: the collector's address, as in to = [\"tcp://collector:6789\"] (or --to)")
	}
	s.to = tables.ReadTarget(at, a.To)
	s.to.CheckTLS(at, a.TLS)
	if s.to.Scheme == "udp" && len(s.to.Addrs) > 1 {
		at.Problem("to", "udp needs one address only: without answers an agent cannot notice that a collector is gone")
	}
}

var goodSubject = regexp.MustCompile(`^[A-Za-z0-9_/-]+(\.[A-Za-z0-9_/-]+)*$`)

func (s *settings) checkNATS(at config.Table) {
	n := &s.Agent.NATS
	if !goodSubject.MatchString(n.Subject) {
		at.Problem("subject",
			"subject is %q; want letters, digits, '_', '/' and '-', in parts separated by '.', without wildcards",
			n.Subject)
	}
	at.OneOf("ack", n.Ack, "commit", "stream")
	if n.Ack == "stream" && n.Stream == "" {
		at.Problem("ack", "ack = \"stream\" needs a stream, as in stream = \"LOGS\"")
	}
	at.DurationAtLeast("answer_within", &n.AnswerWithin, time.Second)
	login := s.login()
	if login.URL == "" {
		return
	}
	if err := login.CheckSecrets(); err != nil {
		at.Problem("", "%v", err)
	}
}

// login is how to connect to the NATS server; its TLS is not set.
func (s *settings) login() natsconn.Login {
	if s.to.Scheme != "nats" {
		return natsconn.Login{}
	}
	return s.Agent.NATS.Login(strings.Join(s.to.Addrs, ","))
}

// maxFiles is how many files are followed at a time. By default the memory is enough for them.
func (s *settings) maxFiles() int {
	const most, least, each = 25_000, 1000, 20 << 10
	if s.Agent.MaxFiles != nil {
		return *s.Agent.MaxFiles
	}
	have := machine.Memory()
	if have <= 0 { // it is not known
		return most
	}
	return int(max(least, min(have/4*3/each, most)))
}

// reading is a text that differs where files are read in another way.
func (f fileTable) reading() string {
	f.Paths, f.Exclude, f.IgnoreOlder, f.From = nil, nil, 0, ""
	text := f.textKeys.options()
	f.Format, f.Encoding = text.Format, text.Encoding // with their defaults
	b, _ := json.Marshal(f)                           // strings and numbers: this cannot fail
	return string(b)
}

// files are the tables of files to follow.
func (s *settings) files() (all []tail.Table) {
	for _, f := range s.Agent.File {
		t := tail.Table{Exclude: f.Exclude, IgnoreOlder: time.Duration(f.IgnoreOlder), FromEnd: f.From == "end",
			Source: f.Source, SyncSource: f.SyncSource, Settings: f.reading()}
		for _, p := range f.Paths {
			if abs, err := filepath.Abs(p); err == nil {
				p = abs
			}
			t.Paths = append(t.Paths, p)
		}
		t.Text = f.textKeys.options()
		t.Container = t.Text.Format == "cri" || t.Text.Format == "docker"
		all = append(all, t)
	}
	return all
}
