package collector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/prometheus/client_golang/prometheus"

	"fanin/ingest"
	"fanin/ingest/relp"
	"fanin/internal/access"
	"fanin/internal/counters"
	"fanin/internal/daemon"
	"fanin/internal/disk"
	"fanin/internal/escape"
	"fanin/sink"
	"fanin/sink/distribute"
	"fanin/sink/livetail"
	"fanin/sink/merge"
)

// server is the collector, put together:
//
//	inputs (see inputKinds) ------------------> sink.Sink --> one rotated file
//	                                               |
//	                                               +-- state: write-ahead log, checkpoints, ledger
//	workers <---- distribute.Distributor -- reads the file by position
//	watchers <--- livetail.Tail ----------- reads the file by position
//	upstream <--- relay.Relay ------------- reads the file by position
//	archive <---- depot.Copier ------------ copies closed files
//	status, rotate, metrics <-- control (unix socket, and HTTP if configured)
//
// It starts with the sink and stops with the inputs. What listens, connects or answers is a part
// of the configuration (see part), and while it is open a listener; a reload puts other listeners
// in the place of those whose tables have changed.
type server struct {
	settings *settings // of the start: what a reload cannot change, see reloads for the others
	reloads  *reloads
	most     connLimits // of the start
	log      *slog.Logger
	sink     *sink.Sink
	sessions *ingest.Sessions
	relp     *relp.Sessions
	room     *ingest.Budget
	inputs   *counters.Set   // what became of the lines of each input
	counters *ingest.Metrics // what the inputs count besides lines
	tail     *livetail.Tail
	access   *access.Policy                         // who may do what over the network
	work     atomic.Pointer[distribute.Distributor] // nil: nothing has been handed out since the start
	metrics  *prometheus.Registry
	control  *control
	fleet    fleet

	listeners listeners
	sockets   *sockets
	forwarding
	moments
}

// forwarding is what reports, and forwards, what the log has, and whose log it is.
type forwarding struct {
	gaps      gaps
	relay     *relayer     // nil: the log is not forwarded
	archive   *archiver    // nil: files are not copied elsewhere
	reads     merge.Server // of other machines, by position
	partition *tenant      // of a cluster, that the log is of; nil: none
}

// moments of a server's life.
type moments struct {
	started time.Time
	opened  chan struct{} // closed when everything is open
	leave   chan struct{} // closed when a request to the control socket asked for it
	signals chan os.Signal
	leaving sync.Once
}

// besideLines is what the process has of memory besides lines in flight, before the garbage collector works harder:
// ten thousand connections need most of it.
const besideLines = 264 << 20

// run is the life of a collector, until ctx ends. again reads the configuration again.
func run(ctx context.Context, s *settings, again func() (*settings, error)) error {
	if s.Collector.Cluster != nil {
		return runCluster(ctx, s, again)
	}
	c, err := newServer(s, again)
	if err != nil {
		return err
	}
	defer limitMemory(ctx, besideLines+int64(s.Collector.MaxInFlight))()
	return c.run(ctx)
}

// limitMemory has the garbage collector keep the process below a limit where that can be, until end is called.
func limitMemory(ctx context.Context, limit int64) (end func()) {
	daemon.LimitMemory(limit)
	ctx, end = context.WithCancel(ctx)
	go daemon.ReturnMemory(ctx) // ends with ctx
	return end
}

// run opens everything, from the log to the inputs, and serves until ctx ends.
func (c *server) run(ctx context.Context) (err error) {
	signal.Notify(c.signals, syscall.SIGHUP, syscall.SIGUSR1) // from the start: they would end the process
	defer signal.Stop(c.signals)
	c.notify("STATUS=recovering after the last stop")
	if err := c.sink.Open(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // stopped before there was anything to drain
		}
		return asConfig(err)
	}
	defer c.drain()
	if c.partition != nil && c.partition.own != nil {
		if err := c.partition.begin(ctx, c.sink); err != nil {
			return err
		}
	}
	if err := c.openWork(ctx); err != nil {
		return asConfig(err)
	}
	if err := cmp.Or(c.relay.begin(ctx), c.openAuthority()); err != nil {
		return err
	}
	c.archive.begin()
	upkeep, stop := context.WithCancel(ctx)
	defer stop()
	go c.keepAuthority(upkeep) // ends by stop
	if err := c.openAll(ctx); err != nil {
		return err
	}
	if c.control, err = c.serveControl(); err != nil {
		return err
	}
	c.sockets.close(c.log)
	c.gaps.watch()
	c.listeners.serve()
	c.printStart()
	c.notify("READY=1", "STATUS=receiving lines")
	close(c.opened)
	return c.wait(ctx)
}

// newServer puts the parts together. It opens nothing.
func newServer(s *settings, again func() (*settings, error)) (*server, error) {
	if err := cmp.Or(s.checkMachine(), s.readSecrets()); err != nil {
		return nil, err
	}
	level := new(slog.LevelVar)
	level.Set(s.level())
	c := &server{
		settings: s, reloads: newReloads(s, again, level), log: daemon.Logger(level), sink: s.sink(),
		sessions: new(ingest.Sessions), room: &ingest.Budget{Limit: int64(s.Collector.MaxInFlight)},
		inputs: new(counters.Set), counters: new(ingest.Metrics), listeners: newListeners(),
		sockets: newSockets(activation.Files(true)),
		moments: moments{started: time.Now(), opened: make(chan struct{}), leave: make(chan struct{}),
			signals: make(chan os.Signal, 4)},
	}
	c.relp = &relp.Sessions{Remembered: c.sink.Extensions}
	c.gaps.Metrics, c.gaps.Notice = c.counters, c.sink.Notice
	c.most = c.divideDescriptors(s, disk.OpenLimit())
	var err error
	if c.access, err = s.newPolicy(c.log); err != nil {
		return nil, &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	c.access.Failed = c.loginFailed
	c.tail = &livetail.Tail{Sink: c.sink, Log: c.log, MaxWatchers: c.most.watchers, MaxLookbacks: s.maxLookbacks()}
	c.reads.Sink = c.sink
	c.metrics = c.registry()
	c.sink.Log, c.sink.Alive, c.sink.Inputs = c.log, daemon.Watchdog(), c.inputs
	return c, cmp.Or(c.prepareRelay(), c.prepareArchive(), c.prepareWork())
}

// asConfig gives the exit code of a wrong configuration to errors that a restart would not
// fix.
func asConfig(err error) error {
	var kind *disk.KindError
	if errors.As(err, &kind) {
		return &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	return err
}

// wait handles signals until it is time to stop.
func (c *server) wait(ctx context.Context) error {
	statusTick := time.NewTicker(5 * time.Second)
	defer statusTick.Stop()
	socketTick := time.NewTicker(time.Second)
	defer socketTick.Stop()
	for {
		select {
		case <-c.leave:
			c.log.Info("draining: requested over the control socket")
			return nil
		case <-ctx.Done():
			c.log.Info("draining: accepting no more lines, writing those already received")
			return nil
		case err := <-c.listeners.broken:
			return err
		case <-c.sink.Failed():
			return fmt.Errorf("%w; a restart fixes this", c.sink.Err())
		case sig := <-c.signals:
			c.signal(ctx, sig)
		case <-socketTick.C:
			c.keepSocket()
			c.access.Look()
		case <-statusTick.C:
			c.notify("STATUS=" + escape.String(c.line()))
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
	c.reloads.running.Go(func() { // ends by drain
		if c.partition == nil {
			daemon.Reloading()
		}
		_, err := c.reload(ctx)
		c.audit(bySignal(ctx, syscall.SIGHUP), "reload", nil, err)
		c.notify("READY=1")
	})
}

// drain stops in the order the lines flow: every line that was received is written.
func (c *server) drain() {
	c.notify("STOPPING=1", "STATUS=draining")
	ctx, cancel := context.WithTimeout(context.Background(), c.reloads.stop())
	defer cancel()
	c.listeners.shutdown(ctx, c.log)
	c.reloads.leaving.Wait()
	c.gaps.end()
	c.tail.Close()
	c.listeners.stopOut()
	if d := c.work.Load(); d != nil {
		if err := d.Shutdown(ctx); err != nil {
			c.log.Error("cannot save the positions of the groups; some lines are handed out again", "err", err)
		}
	}
	c.listeners.wait()
	c.relay.end()
	c.archive.end()
	if err := c.sink.Close(ctx); err != nil {
		c.log.Error("cannot close the log", "err", err)
	}
	c.listeners.close()
	if c.control != nil {
		c.control.close()
	}
	c.log.Info("stopped", "after", time.Since(c.started).Round(time.Second))
}
