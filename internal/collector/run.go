package collector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanin/ingest"
	"fanin/internal/daemon"
	"fanin/internal/disk"
	"fanin/internal/escape"
	"fanin/sink"
	"fanin/sink/distribute"
	"fanin/sink/livetail"
)

// server is the collector, put together:
//
//	agents, plain lines --> ingest.TCP --\
//	                                      >--> sink.Sink --> one rotated file
//	datagrams ------------> ingest.UDP --/        |
//	NATS -----------------> ingest.NATS-/         |
//	                                              +-- state: write-ahead log, checkpoints, ledger
//	workers <---- distribute.Distributor -- reads the file by position
//	watchers <--- livetail.Tail ----------- reads the file by position
//	status, rotate, metrics <-- control (unix socket, and HTTP if configured)
//
// It starts from the right and stops from the left.
type server struct {
	settings *settings
	most     connLimits
	log      *slog.Logger
	sink     *sink.Sink
	sessions *ingest.Sessions
	room     *ingest.Room
	intake   *ingest.Metrics
	tail     *livetail.Tail
	web      *web                    // nil: not configured
	work     *distribute.Distributor // nil: not configured
	nats     []*natsServer
	metrics  *prometheus.Registry
	control  *control
	leave    chan struct{} // closed when somebody asked for it over the control socket
	leaving  sync.Once

	listeners []listener
	serving   sync.WaitGroup
	broken    chan error // a listener that ended by itself
	started   time.Time
}

// listener is one way in, being served.
type listener struct {
	kind, address string
	shutdown      func(context.Context) error
}

// run is the life of a collector, until ctx ends.
func run(ctx context.Context, s *settings) error {
	if err := s.checkMachine(); err != nil {
		return err
	}
	daemon.LimitMemory(256 << 20)
	c := &server{
		settings: s, log: daemon.Logger(s.level()), sink: s.sink(), started: time.Now(),
		sessions: new(ingest.Sessions), room: &ingest.Room{Limit: int64(s.Collector.MaxInFlight)},
		intake: ingest.NewMetrics(), broken: make(chan error, 16), leave: make(chan struct{}),
	}
	c.most = c.divideDescriptors(disk.OpenLimit())
	c.tail = &livetail.Tail{Sink: c.sink, Log: c.log, MaxWatchers: c.most.watchers}
	if h := s.Collector.HTTP; h != nil {
		c.tail.MaxLookbacks = orZero(h.MaxLookbacks)
		var err error
		if c.web, err = newWeb(h, c.most.http, c.log); err != nil {
			return &daemon.Exit{Code: daemon.ExitConfig, Err: err}
		}
	}
	if err := c.prepareWork(); err != nil {
		return err
	}
	c.sink.Log, c.sink.Alive = c.log, daemon.Watchdog()
	daemon.Notify("STATUS=repeating what a crash left undone")
	if err := c.sink.Open(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // asked to leave before there was anything to drain
		}
		return asConfig(err)
	}
	defer c.drain()
	if c.work != nil {
		if err := c.work.Open(ctx); err != nil {
			return asConfig(err)
		}
	}
	if err := c.openNATS(ctx); err != nil {
		return err
	}
	c.metrics = c.registry()
	if err := c.listen(); err != nil {
		return err
	}
	c.hello()
	daemon.Notify("READY=1", "STATUS=taking lines")
	return c.wait(ctx)
}

// asConfig gives the exit code of a wrong configuration to what starting again
// would not mend.
func asConfig(err error) error {
	var kind *disk.KindError
	if errors.As(err, &kind) {
		return &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	return err
}

// wait serves signals until it is time to leave.
func (c *server) wait(ctx context.Context) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGUSR1)
	defer signal.Stop(signals)
	tell := time.NewTicker(5 * time.Second)
	defer tell.Stop()
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		select {
		case <-c.leave:
			c.log.Info("draining, as the control socket asked")
			return nil
		case <-ctx.Done():
			c.log.Info("draining: taking no more lines, finishing those that are here")
			return nil
		case err := <-c.broken:
			return err
		case <-c.sink.Failed():
			return fmt.Errorf("%w; starting again mends this", c.sink.Err())
		case sig := <-signals:
			c.signal(ctx, sig)
		case <-look.C:
			c.keepSocket()
		case <-tell.C:
			daemon.Notify("STATUS=" + escape.String(c.line()))
		}
	}
}

func (c *server) signal(ctx context.Context, sig os.Signal) {
	if sig == syscall.SIGUSR1 {
		if err := c.sink.Reopen(ctx); err != nil {
			c.log.Error("cannot reopen the log", "err", err)
		}
		return
	}
	daemon.Notify("RELOADING=1")
	c.reload()
	daemon.Notify("READY=1")
}

// drain stops in the order the lines flow: nothing that was taken is left behind.
func (c *server) drain() {
	daemon.Notify("STOPPING=1", "STATUS=draining")
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(c.settings.Collector.DrainTimeout))
	defer cancel()
	var all sync.WaitGroup
	for _, l := range c.listeners {
		all.Go(func() { // ends with ctx
			if err := l.shutdown(ctx); err != nil {
				c.log.Error("cannot finish in time; agents send again what was not acknowledged", "listener", l.kind+" "+l.address, "err", err)
			}
		})
	}
	all.Wait()
	c.tail.Close()
	c.stopOut()
	if c.work != nil {
		if err := c.work.Shutdown(ctx); err != nil {
			c.log.Error("cannot save where the groups stand; some lines are handed out again", "err", err)
		}
	}
	c.serving.Wait()
	if err := c.sink.Close(ctx); err != nil {
		c.log.Error("cannot close the log", "err", err)
	}
	c.closeNATS()
	if c.control != nil {
		c.control.close()
	}
	c.log.Info("stopped", "after", time.Since(c.started).Round(time.Second))
}

// listen opens every way in, the control socket first.
func (c *server) listen() error {
	var err error
	if c.control, err = c.serveControl(); err != nil {
		return err
	}
	port := ""
	for _, t := range anyLast(c.settings.Collector.TCP, func(t *tcpTable) string { return t.Listen }) {
		if port, err = c.listenTCP(t); err != nil {
			return err
		}
	}
	for _, t := range anyLast(c.settings.Collector.UDP, func(t *udpTable) string { return t.Listen }) {
		if err := c.listenUDP(t, port); err != nil {
			return err
		}
	}
	c.listenNATS()
	return c.listenWork()
}

// anyLast puts tables that take any free port behind those that name one, so that
// none takes what another names.
func anyLast[T any](tables []T, listen func(*T) string) (order []*T) {
	var last []*T
	for i := range tables {
		if strings.HasSuffix(listen(&tables[i]), ":0") {
			last = append(last, &tables[i])
		} else {
			order = append(order, &tables[i])
		}
	}
	return append(order, last...)
}

// prepareWork makes the distributor, which the sink asks about what it may remove.
func (c *server) prepareWork() (err error) {
	w := c.settings.Collector.Work
	if w == nil && !c.settings.carries() {
		return nil
	}
	w = cmp.Or(w, &workTable{})
	if c.work, err = w.distributor(c.sink, c.most.workers, c.log); err != nil {
		return &daemon.Exit{Code: daemon.ExitConfig, Err: fmt.Errorf("listen for workers on %s: %w", w.Listen, err)}
	}
	c.sink.Needed, c.sink.Expire = c.work.Needed, c.work.Expire
	return nil
}

func (c *server) listenWork() error {
	if c.settings.Collector.Work == nil {
		return nil
	}
	ln, err := net.Listen("tcp", c.settings.Collector.Work.Listen)
	if err != nil {
		return fmt.Errorf("listen for workers on %s: %w", c.settings.Collector.Work.Listen, err)
	}
	shut := func(context.Context) error { return nil } // drain does it, behind all that bring lines
	c.serve(listener{"work", ln.Addr().String(), shut}, func() error { return c.work.Serve(ln) })
	return nil
}

func (c *server) listenTCP(t *tcpTable) (port string, err error) {
	l, err := t.listener(c.log)
	if err != nil {
		return "", &daemon.Exit{Code: daemon.ExitConfig, Err: fmt.Errorf("listen on tcp %s: %w", t.Listen, err)}
	}
	l.MaxConns = c.most.tcp[t]
	l.Out, l.Welcome, l.Sessions, l.Room, l.Metrics = c.sink, c.sink.Welcome, c.sessions, c.room, c.intake
	ln, err := net.Listen("tcp", t.Listen)
	if err != nil {
		return "", fmt.Errorf("listen on tcp %s: %w", t.Listen, err)
	}
	kind := "tcp"
	if t.TLS != nil {
		kind = "tls"
	}
	c.serve(listener{kind, ln.Addr().String(), l.Shutdown}, func() error { return l.Serve(ln) })
	_, port, _ = net.SplitHostPort(ln.Addr().String())
	return port, nil
}

// listenUDP listens; asked for any port, it takes the number tcp got if that is free.
func (c *server) listenUDP(t *udpTable, port string) error {
	conn, err := net.PacketConn(nil), error(nil)
	if host, p, _ := net.SplitHostPort(t.Listen); p == "0" && port != "" {
		conn, err = net.ListenPacket("udp", net.JoinHostPort(host, port))
	}
	if conn == nil {
		conn, err = net.ListenPacket("udp", t.Listen)
	}
	if err != nil {
		return fmt.Errorf("listen on udp %s: %w", t.Listen, err)
	}
	l := &ingest.UDP{Out: c.sink, Metrics: c.intake, Log: c.log, Notice: c.sink.Notice, Source: t.Source,
		ReadBuffer: int(orZero(t.ReadBuffer)), QueueBytes: int64(orZero(t.Queue)), MaxRate: int64(orZero(t.MaxRate)), MaxLine: int(orZero(t.MaxLine))}
	c.serve(listener{"udp", conn.LocalAddr().String(), l.Shutdown}, func() error { return l.Serve(conn.(*net.UDPConn)) })
	return nil
}

// serve runs a listener on a goroutine of its own, which drain ends.
func (c *server) serve(l listener, serve func() error) {
	c.listeners = append(c.listeners, l)
	c.serving.Go(func() {
		if err := serve(); err != nil && !errors.Is(err, ingest.ErrServerClosed) && !errors.Is(err, distribute.ErrClosed) {
			c.broken <- fmt.Errorf("listener %s %s: %w", l.kind, l.address, err)
		}
	})
	escape.Fprintf(os.Stderr, "listening %s %s\n", l.kind, l.address)
}

// hello says what a person at the terminal wants to know next.
func (c *server) hello() {
	st := c.sink.Status()
	escape.Fprintf(os.Stderr, "writing %s (sync %s, format %s)\nstate %s\n", st.Path, st.Sync, st.Format, st.State)
	for _, l := range c.listeners {
		if l.kind == "tcp" {
			host, port, _ := net.SplitHostPort(l.address)
			name := filepath.Base(st.Path)
			escape.Fprintf(os.Stderr, "try: echo hello | nc -q0 %s %s; tail -F %s\n", host, port, name)
			escape.Fprintf(os.Stderr, "or:  fanin-agent --to %s /var/log/dpkg.log\n", l.address)
			return
		}
	}
}

// line is the state in one line, for the service manager.
func (c *server) line() string {
	st := c.sink.Status()
	if !st.Healthy {
		return "NOT TAKING LINES: " + st.Trouble
	}
	if stalled := c.stalled(); stalled != "" {
		return "INTAKE IS STALLED: " + stalled
	}
	for _, x := range c.natsStatus() {
		if x.Trouble != "" {
			return "NATS " + x.URL + ": " + x.Trouble
		}
	}
	return strconv.Itoa(len(c.sessions.List())) + " agents, " + strconv.FormatUint(st.Lines, 10) + " lines since the start, generation " +
		strconv.FormatUint(st.Generation, 10)
}

// reloaded is what came of a reload.
type reloaded struct {
	Outcome string `json:"outcome"`
}

// reload reads the configuration again. Certificates are taken as they change;
// everything else waits for a restart, which is said.
func (c *server) reload() (reloaded, error) {
	if c.settings.file.Path == "" {
		return c.say("nothing to reload: there is no configuration file"), nil
	}
	o := &options{config: c.settings.file.Path}
	s, err := o.load()
	if err != nil {
		c.log.Error("the configuration is not taken; going on with the old one", "err", err)
		return reloaded{}, fmt.Errorf("the configuration is not taken; going on with the old one:\n%w", err)
	}
	if c.settings.equal(s) {
		return c.say("the configuration is unchanged; certificates are taken anew as their files change"), nil
	}
	return c.say("the configuration is good and differs: restart to take it; no line is lost by a restart"), nil
}

func (c *server) say(outcome string) reloaded {
	c.log.Info(outcome)
	return reloaded{outcome}
}
