package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"fanin/internal/daemon"
	"fanin/internal/disk"
	"fanin/internal/escape"
	"fanin/internal/tail"
	"fanin/internal/wire"
)

// agent is the agent, put together:
//
//	files --> tail.Tailer --> ship.TCP, NATS or UDP --> a collector
//	              |     ^            |
//	          positions +-- welcome -+
//
// A file is its own buffer: the next batch is read, but not sent, before the answer.
type agent struct {
	settings *settings
	log      *slog.Logger
	level    *slog.LevelVar // of log
	tailer   *tail.Tailer
	inputs   []input  // beside the tailer
	shipper  shipper  // nil over udp
	renewer  *renewer // nil: the certificate is renewed by others
	lock     *disk.File
	control  net.Listener
	started  time.Time
	alive    atomic.Int64 // when the tailer last looked, in nanoseconds since 1970
	stuck    stuckWatch   // the tailer's goroutine's own
	web      *http.Server // nil: none is configured
	share    *daemon.Processors

	instance      wire.StreamID // of this installation; zero over udp
	run           int64
	stateSeen     time.Time               // when the state was last found complete
	stateReported time.Time               // when it was last logged that the state cannot be restored
	fail          context.CancelCauseFunc // ends the agent with an error
}

// run is the life of an agent, until ctx ends. again reads the configuration.
func run(ctx context.Context, s *settings, again func() (*settings, error)) error {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP) // from the start: it would end the process
	a, err := newAgent(s)
	if err != nil {
		return err
	}
	defer func() { a.lock.Close() }() // the current one
	done := make(chan struct{})
	defer close(done)
	go a.reloadOnHangup(hangups, done, again) // ends by done
	a.printStart(os.Stderr)
	if a.shipper != nil {
		beside, err := newSpooled(s, a.log)
		if err != nil {
			return err
		}
		a.inputs = append(a.inputs, beside)
		if err := a.listen(); err != nil {
			return err
		}
	}
	if err := a.serveStatus(); err != nil {
		return err
	}
	defer func() { a.control.Close() }()
	if err := a.serveHTTP(); err != nil {
		return err
	}
	defer a.closeHTTP()
	daemon.Notify("READY=1", "STATUS=following")
	err = a.follow(ctx)
	daemon.Notify("STOPPING=1")
	a.stopped()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// stopped logs what became of the lines.
func (a *agent) stopped() {
	text := "stopped; lines that were not acknowledged stay in their files, and the next start sends them"
	if len(a.tailer.Lost()) > 0 {
		text = "stopped; all other lines that were not acknowledged stay in their files, and the next start sends them"
	}
	a.log.Info(text, "lines", a.counts()["lines"])
}

func newAgent(s *settings) (*agent, error) {
	if err := cmp.Or(s.checkPaths(), s.checkJournalctl(true)); err != nil {
		return nil, err
	}
	daemon.LimitMemory(64 << 20)
	level := new(slog.LevelVar)
	level.Set(s.level())
	a := &agent{settings: s, log: daemon.Logger(level), level: level, started: time.Now(),
		share: daemon.NewProcessors()}
	c := &s.Agent
	if err := new(disk.Disk).MkdirAll(c.State, 0o750); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	var err error
	if a.lock, err = new(disk.Disk).Lock(filepath.Join(c.State, "lock")); err != nil {
		if errors.Is(err, disk.ErrLocked) {
			return nil, fmt.Errorf("another agent uses the state %s: stop it, or set a different state and id for "+
				"this one (--state DIRECTORY --id NAME): %w", c.State, err)
		}
		return nil, fmt.Errorf("lock the state directory %s: %w", c.State, err)
	}
	watchdog := daemon.Watchdog()
	a.tailer = &tail.Tailer{Settings: tail.Settings{
		Tables: s.files(), State: c.State, Agent: c.ID, Log: a.log, Lossy: s.to.Scheme == "udp",
		Alive: func() { watchdog(); a.share.Look(); a.keepState(); a.observe(); a.alive.Store(time.Now().UnixNano()) },
		Poll:  time.Duration(c.Poll), Grace: time.Duration(c.Grace), Settle: time.Duration(c.Settle),
		LetGo: time.Duration(c.LetGo), Forget: time.Duration(c.Forget), StopWait: max(1, time.Duration(c.Stop)),
		MaxLine: int(c.MaxLine), BatchBytes: int(c.BatchSize), Memory: int64(c.Memory),
		Follow: s.maxFiles(),
	}}
	if err := a.ship(); err != nil {
		a.lock.Close()
		return nil, err
	}
	return a, nil
}

// follow runs the tailer, and the connection for as long as the tailer may still
// need it.
func (a *agent) follow(ctx context.Context) (err error) {
	ctx, a.fail = context.WithCancelCause(ctx)
	defer a.fail(nil)
	defer func() {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, ctx.Err()) {
			err = cause
		}
	}()
	go daemon.ReturnMemory(ctx) // ends with ctx
	defer a.share.Release()
	if a.shipper == nil {
		return a.tailer.Run(ctx)
	}
	connected, disconnect := context.WithCancel(context.Background())
	var shipping sync.WaitGroup
	shipping.Go(func() { a.shipper.Run(connected) }) // ends by disconnect
	defer shipping.Wait()
	defer disconnect()
	sending, stop := context.WithCancel(ctx)
	if a.renewer != nil {
		shipping.Go(func() { a.renewer.run(connected) }) // ends by disconnect
	}
	defer a.sendInputs(sending)()
	defer stop()
	return a.tailer.Run(ctx)
}

// printStart prints which files are followed, and where their lines go.
func (a *agent) printStart(w io.Writer) {
	c := &a.settings.Agent
	for _, t := range a.tailer.Tables {
		escape.Fprintf(w, "following %s\n", strings.Join(t.Paths, " "))
		for _, p := range t.Paths {
			if !t.Finds(p) {
				escape.Fprintf(w, "no file matches %s yet; it will be followed as soon as it exists\n", p)
			}
		}
	}
	for _, t := range a.settings.Agent.Unix {
		escape.Fprintf(w, "listening on %s\n", t.Path)
	}
	if a.settings.Agent.Journal != nil {
		escape.Fprintf(w, "following the journal\n")
	}
	escape.Fprintf(w, "to %s as %s\nstate %s\n", a.settings.to, c.ID, c.State)
}
