package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"fanin/internal/certs"
	"fanin/internal/daemon"
	"fanin/internal/disk"
	"fanin/internal/escape"
	"fanin/internal/natsconn"
	"fanin/internal/ship"
	"fanin/internal/tail"
	"fanin/internal/wire"
)

// follower is the agent, put together:
//
//	files --> tail.Tailer --> ship.TCP, NATS or UDP --> a collector
//	              |   ^            |
//	            marks +-- welcome -+
//
// A file is its own buffer: it is read on when the batch before is acknowledged.
type follower struct {
	settings *settings
	log      *slog.Logger
	tailer   *tail.Tailer
	way      way // nil over udp
	lock     *disk.File
	control  net.Listener
	started  time.Time

	instance  wire.StreamID // of this installation; zero over udp
	run       int64
	stateSaid time.Time               // when it was said last that the state cannot be made
	fail      context.CancelCauseFunc // ends the agent with an error
}

// way is a way to a collector that answers.
type way interface {
	wire.Appender
	Run(ctx context.Context) error
	Trouble() string
}

// run is the life of an agent, until ctx ends. again reads the configuration.
func run(ctx context.Context, s *settings, again func() (*settings, error)) error {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP) // from the start: it would end the process
	a, err := newFollower(s)
	if err != nil {
		return err
	}
	defer func() { a.lock.Close() }() // the one there is then
	done := make(chan struct{})
	defer close(done)
	go a.hangUp(hangups, done, again)
	a.hello(os.Stderr)
	if err := a.serveStatus(); err != nil {
		return err
	}
	defer func() { a.control.Close() }()
	daemon.Notify("READY=1", "STATUS=following")
	err = a.follow(ctx)
	daemon.Notify("STOPPING=1")
	a.stopped()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// hangUp answers SIGHUP until done: it says what a changed configuration takes.
func (a *follower) hangUp(hangups chan os.Signal, done chan struct{}, again func() (*settings, error)) {
	for {
		select {
		case <-done:
			return
		case <-hangups:
		}
		switch s, err := again(); {
		case err != nil:
			a.log.Error("SIGHUP: the configuration has mistakes now; the agent goes on with what it has", "err", err)
		case !reflect.DeepEqual(s.Agent, a.settings.Agent):
			a.log.Warn("SIGHUP: the configuration has changed; the agent goes on with what it has, restart it to use the new one")
		default:
			a.log.Info("SIGHUP: nothing to do; changed certificates are used from the next connection on by themselves")
		}
	}
}

// stopped says what became of the lines.
func (a *follower) stopped() {
	text := "stopped; lines that were not acknowledged stay in their files, and the next start sends them"
	if len(a.tailer.Lost()) > 0 {
		text = "stopped; all other lines that were not acknowledged stay in their files, and the next start sends them"
	}
	a.log.Info(text, "lines", a.tailer.Counts()["lines"])
}

func newFollower(s *settings) (*follower, error) {
	if err := s.checkPaths(); err != nil {
		return nil, err
	}
	daemon.LimitMemory(64 << 20)
	var level slog.Level
	level.UnmarshalText([]byte(s.Agent.LogLevel)) // checked
	a := &follower{settings: s, log: daemon.Logger(level), started: time.Now()}
	c := &s.Agent
	if err := new(disk.Disk).MkdirAll(c.State, 0o750); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	var err error
	if a.lock, err = new(disk.Disk).Lock(filepath.Join(c.State, "lock")); err != nil {
		if errors.Is(err, disk.ErrLocked) {
			return nil, fmt.Errorf("another agent has the state %s: stop it, or give this one a state and an id of its own (--state DIRECTORY --id NAME): %w", c.State, err)
		}
		return nil, fmt.Errorf("lock the state directory %s: %w", c.State, err)
	}
	watchdog := daemon.Watchdog()
	a.tailer = &tail.Tailer{
		Tables: s.tables(), State: c.State, Agent: c.ID, Log: a.log, Alive: func() { watchdog(); a.keepState() }, Lossy: s.to.scheme == "udp",
		Poll: time.Duration(c.Poll), Grace: time.Duration(c.Grace), Settle: time.Duration(c.Settle), LetGo: time.Duration(c.LetGo), Forget: time.Duration(c.Forget), StopWait: max(1, time.Duration(c.Stop)),
		MaxLine: int(c.MaxLine), BatchBytes: int(c.BatchSize), Memory: int64(c.Memory),
	}
	if err := a.ship(); err != nil {
		a.lock.Close()
		return nil, err
	}
	return a, nil
}

// lastAnswers is how long a stop waits for answers: a mark that knows them keeps
// lines from coming twice should the collector lose its state meanwhile.
const lastAnswers = 2 * time.Second

// ship makes the way out and gives it to the tailer.
func (a *follower) ship() error {
	c := &a.settings.Agent
	if a.settings.to.scheme == "udp" {
		a.tailer.Out = &ship.UDP{Addr: a.settings.to.addrs[0], Agent: c.ID, Host: c.Host, Datagram: int(c.Datagram)}
		a.tailer.MaxLine = min(a.tailer.MaxLine, 60<<10)
		return nil
	}
	var err error
	if a.instance, a.run, err = openInstance(a.instancePath()); err != nil {
		return err
	}
	hello := wire.Hello{Agent: c.ID, Instance: a.instance, Run: a.run, Host: c.Host, Software: "fanin-agent " + daemon.Release}
	if a.settings.to.scheme == "nats" {
		a.way, err = a.nats(hello)
	} else {
		a.way, err = a.tcp(hello)
	}
	if err != nil {
		return &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	a.tailer.Out = a.way
	return nil
}

func (a *follower) tcp(hello wire.Hello) (*ship.TCP, error) {
	c := &a.settings.Agent
	t := &ship.TCP{
		Addrs: a.settings.to.addrs, Compress: c.Compress, Log: a.log, OnWelcome: a.tailer.Welcome,
		PingEvery: time.Duration(c.Ping), DeadAfter: time.Duration(c.DeadAfter), Linger: lastAnswers, Hello: hello,
	}
	var err error
	if a.settings.to.scheme == "tls" {
		files := c.TLS.files(a.log)
		t.Explain = files.ExplainClient
		t.TLS, err = files.Client()
	}
	return t, err
}

func (a *follower) nats(hello wire.Hello) (*ship.NATS, error) {
	c := &a.settings.Agent
	login := a.settings.login()
	var err error
	if c.TLS != nil {
		if login.TLS, err = c.TLS.files(a.log).Client(); err != nil {
			return nil, err
		}
	}
	if err := login.Check(); err != nil {
		return nil, err
	}
	if !login.Encrypted() {
		a.log.Warn("lines go over the network unencrypted: give [agent] tls = {ca = \"...\"} if the NATS server speaks TLS", "server", login.URL)
	}
	return &ship.NATS{
		Login: login, Subject: natsconn.Subjects(c.NATS.Subject), Stream: c.NATS.Stream, Ack: c.NATS.Ack,
		Compress: c.Compress, Log: a.log, OnWelcome: a.tailer.Welcome, Known: a.tailer.Known, Connected: a.serveNATS, Explain: c.TLS.files(a.log).ExplainClient,
		PingEvery: time.Duration(c.Ping), DeadAfter: time.Duration(c.DeadAfter), AnswerWithin: time.Duration(c.NATS.AnswerWithin), Linger: lastAnswers, Hello: hello,
	}, nil
}

// serveNATS answers requests over NATS.
func (a *follower) serveNATS(nc *nats.Conn) {
	c := &a.settings.Agent
	s := natsconn.Service{Prefix: c.NATS.Subject, Role: "agent", ID: c.ID, Version: daemon.Release, Metadata: map[string]string{"host": c.Host},
		Stats:     func() any { return a.tailer.Counts() },
		Endpoints: map[string]func(context.Context) (any, error){"status": func(context.Context) (any, error) { return a.status(), nil }}}
	if err := s.Serve(nc); err != nil {
		a.log.Warn("this agent cannot be asked over NATS", "err", err)
	}
}

// files are the table's, which may be missing: then the system's authorities count.
func (t *tlsTable) files(log *slog.Logger) certs.Files {
	if t == nil {
		t = &tlsTable{}
	}
	return certs.Files{Cert: t.Cert, Key: t.Key, CA: t.CA, ServerName: t.ServerName, Log: log}
}

// openInstance reads who this installation is, or makes it up once, and counts
// the run: of two runs of one instance, the collector lets the later one win.
func openInstance(path string) (id wire.StreamID, run int64, err error) {
	b, err := os.ReadFile(path)
	fields := strings.Fields(string(b))
	if len(fields) == 2 {
		id, err = wire.ParseStreamID(fields[0])
		if last, perr := strconv.ParseInt(fields[1], 10, 64); perr == nil {
			run = last
		}
	}
	if id.IsZero() || err != nil {
		id = wire.NewStreamID()
	}
	run = max(run+1, time.Now().UnixNano())
	return id, run, writeInstance(path, id, run)
}

// follow runs the tailer, and the connection for as long as the tailer may still
// need it.
func (a *follower) follow(ctx context.Context) (err error) {
	ctx, a.fail = context.WithCancelCause(ctx)
	defer a.fail(nil)
	defer func() {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, ctx.Err()) {
			err = cause
		}
	}()
	if a.way == nil {
		return a.tailer.Run(ctx)
	}
	connected, disconnect := context.WithCancel(context.Background())
	var shipping sync.WaitGroup
	shipping.Go(func() { a.way.Run(connected) }) // ends by disconnect
	defer shipping.Wait()
	defer disconnect()
	return a.tailer.Run(ctx)
}

func (a *follower) hello(w io.Writer) {
	c := &a.settings.Agent
	for _, t := range a.tailer.Tables {
		escape.Fprintf(w, "following %s\n", strings.Join(t.Paths, " "))
		for _, p := range t.Paths {
			if found, _ := filepath.Glob(p); len(found) == 0 {
				escape.Fprintf(w, "no file matches %s yet; it is followed as soon as it is there\n", p)
			}
		}
	}
	escape.Fprintf(w, "to %s as %s\nstate %s\n", a.settings.to, c.ID, c.State)
}

const controlName = "control.sock"

// status is what `status --json` prints.
type status struct {
	Version string            `json:"version"`
	ID      string            `json:"id"`
	To      []string          `json:"to"`
	Since   time.Time         `json:"since"`
	Trouble string            `json:"trouble,omitempty"` // why there is no connection
	Files   []tail.FileStatus `json:"files"`
	Counts  map[string]uint64 `json:"counts"`
}

func (a *follower) status() status {
	st := status{Version: daemon.Release, ID: a.settings.Agent.ID, To: a.settings.to.addrs, Since: a.started,
		Files: a.tailer.Status(), Counts: a.tailer.Counts()}
	if a.way != nil {
		st.Trouble = a.way.Trouble()
	}
	return st
}

func (st *status) print(w io.Writer) {
	connection := "connected"
	if st.Trouble != "" {
		connection = "NOT CONNECTED: " + st.Trouble
	}
	escape.Fprintf(w, "%s to %s as %s\n%d lines acknowledged since %s\n", connection, strings.Join(st.To, ","), st.ID, st.Counts["lines"], st.Since.Format(time.RFC3339))
	for _, name := range slices.Sorted(maps.Keys(st.Counts)) {
		if n := st.Counts[name]; n > 0 && name != "lines" && name != "bytes" {
			escape.Fprintf(w, "%s=%d\n", name, n)
		}
	}
	for _, f := range st.Files {
		escape.Fprintf(w, "%s source=%s acked=%d behind=%d %s\n", f.Path, f.Source, f.Acked, f.Size-f.Acked, cmp.Or(f.Trouble, f.Warning))
	}
}

// serveStatus gives the status to whoever connects to the control socket, on a
// goroutine that ends when the listener is closed.
func (a *follower) serveStatus() error {
	path := a.controlPath()
	if old, ok := a.control.(*net.UnixListener); ok {
		old.SetUnlinkOnClose(false) // its name is another's by now
		old.Close()
	}
	os.Remove(path) // ours: the lock says so
	ln, err := net.Listen("unix", path)
	if err != nil {
		if len(path) > 107 {
			err = fmt.Errorf("%w: the path has %d bytes and sockets allow 107; give a shorter agent.state", err, len(path))
		}
		return fmt.Errorf("open the control socket %s: %w", path, err)
	}
	a.control = ln
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conn.SetDeadline(time.Now().Add(5 * time.Second))
			json.NewEncoder(conn).Encode(a.status())
			conn.Close()
		}
	}()
	return os.Chmod(path, 0o660)
}
