package collector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"fanin/ingest"
	"fanin/internal/access"
	"fanin/internal/certs"
	"fanin/internal/cluster"
	"fanin/internal/daemon"
	"fanin/internal/disk"
	"fanin/internal/escape"
	"fanin/internal/natsconn"
	"fanin/internal/wire"
	"fanin/sink"
)

// member is a collector of a cluster: a server for each partition that it owns, each with its own
// log, and what all have in common.
//
//	cluster.Member ---- which partitions are ours
//	  |
//	  +-- server of partition 3: input (its part of the stream) --> sink.Sink
//	  +-- server of partition 7: ...
//
// The state directory has the control socket of the member, and below it a directory for each
// partition with that partition's state and control socket.
type member struct {
	settings *settings
	again    func() (*settings, error)
	log      *slog.Logger
	room     *ingest.Budget
	conn     *nats.Conn
	*cluster.Member
	control *control
	http    *clusterHTTP
	lock    *disk.File
	gate    certs.Gate
	access  *access.Policy
	handout *handout // to workers; nil: there are none
	moments

	leftovers *leftovers // nil: there is no archive
	recovered recoveries

	mu      sync.Mutex
	servers map[int]*server
}

// runCluster is the life of a collector of a cluster, until ctx ends.
func runCluster(ctx context.Context, s *settings, again func() (*settings, error)) error {
	if err := cmp.Or(s.checkMachine(), s.readSecrets()); err != nil {
		return err
	}
	defer limitMemory(ctx, 512<<20)()
	return newMember(s, again).run(ctx)
}

func newMember(s *settings, again func() (*settings, error)) *member {
	level := new(slog.LevelVar)
	level.Set(s.level())
	return &member{settings: s, again: again, log: daemon.Logger(level), servers: make(map[int]*server),
		room: &ingest.Budget{Limit: int64(s.Collector.MaxInFlight)},
		moments: moments{started: time.Now(), opened: make(chan struct{}), leave: make(chan struct{}),
			signals: make(chan os.Signal, 4)}}
}

func (c *member) run(ctx context.Context) error {
	signal.Notify(c.signals, syscall.SIGHUP, syscall.SIGUSR1) // the servers handle them; without any, they would end us
	defer signal.Stop(c.signals)
	if err := c.open(); err != nil {
		return err
	}
	defer c.close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	c.leftovers = newLeftovers(c)
	defer c.leftovers.end()
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }() // ends with ctx
	handing, endHanding := context.WithCancel(context.WithoutCancel(ctx))
	var handouts sync.WaitGroup
	handouts.Go(func() { c.handout.run(handing) })
	defer handouts.Wait()
	defer endHanding() // when all partitions were handed over
	daemon.Notify("READY=1", "STATUS=a member of the cluster "+c.Name)
	escape.Fprintf(os.Stderr, "member %s of the cluster %s, %d partitions, nats %s\n", c.ID, c.Name, c.Partitions,
		c.settings.Collector.Cluster.URL)
	tick, watchdog, leave := time.NewTicker(time.Second), daemon.Watchdog(), c.leave
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return asClusterConfig(err)
		case <-leave:
			stop()
			leave = nil // it stays closed
		case <-c.signals:
		case <-tick.C:
			watchdog()
			c.access.Look()
		}
	}
}

// asClusterConfig gives the exit code of a wrong configuration to errors that a restart would not
// fix.
func asClusterConfig(err error) error {
	if errors.Is(err, cluster.ErrConfig) {
		return &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	return asConfig(err)
}

// open opens what all partitions have in common.
func (c *member) open() error {
	state := c.settings.state()
	var d *disk.Disk
	if err := d.MkdirAll(state, 0o750); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	var err error
	if c.lock, err = d.Lock(filepath.Join(state, "lock")); err != nil {
		return fmt.Errorf("only one collector may use the state %s: %w", state, err)
	}
	id, err := memberID(d, filepath.Join(state, "member"))
	if err != nil {
		return err
	}
	t := c.settings.Collector.Cluster
	login, err := t.nats().tlsLogin(c.log)
	if err != nil {
		return &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	dialer := natsconn.Dialer{Login: login, Name: "fanin-collector member " + id,
		Lost: func(_ *nats.Conn, err error) {
			c.log.Warn("the connection to the NATS server was lost; trying again", "server", t.URL, "err", err)
		}}
	if c.conn, err = dialer.Dial(); err != nil {
		return &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	if c.access, err = c.settings.newPolicy(c.log); err != nil {
		return &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	if err := c.openHandout(); err != nil {
		return err
	}
	if c.Member, err = cluster.New(c.config(id), c.conn, c.log); err != nil {
		return err
	}
	c.Serve, c.Changed = c.serve, c.saveTenures
	return c.serveRequests()
}

// config is what the member tells the others, and what it must know of the cluster.
func (c *member) config(id string) cluster.Config {
	t, host := c.settings.Collector.Cluster, ""
	host, _ = os.Hostname()
	x := cluster.Config{Name: t.Name, Partitions: t.partitions(), TakeoverAfter: t.takeoverAfter(), Create: t.Create,
		Replicas: 1, ID: id, Host: host}
	if t.Replicas != nil {
		x.Replicas = *t.Replicas
	}
	if h := c.settings.Collector.HTTP; h != nil {
		x.HTTP = h.Listen
	}
	if c.settings.Collector.Work != nil {
		x.Work = c.handout.address(t.WorkAddress, host)
	}
	return x
}

// memberID reads the id of the member, or makes one.
func memberID(d *disk.Disk, path string) (string, error) {
	b, err := os.ReadFile(path)
	if id := strings.TrimSpace(string(b)); err == nil && goodName.MatchString(id) {
		return id, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read the id of the member: %w", err)
	}
	id := wire.NewStreamID().String()[:8]
	if err := d.WriteFile(path, []byte(id+"\n"), 0o640); err != nil {
		return "", fmt.Errorf("write the id of the member: %w", err)
	}
	return id, nil
}

// close closes what open opened.
func (c *member) close() {
	if c.http != nil {
		c.http.close()
	}
	if c.handout != nil {
		c.handout.listener.Close()
	}
	if c.control != nil {
		c.control.close()
	}
	c.conn.FlushTimeout(time.Second)
	c.conn.Close()
	c.lock.Close()
	c.log.Info("stopped", "after", time.Since(c.started).Round(time.Second))
}

// serve is the life of a partition: that of a collector with one input.
func (c *member) serve(ctx context.Context, o *cluster.Ownership) (at sink.Position, err error) {
	defer c.handout.take(o.Partition)()
	defer c.leftovers.take(o.Partition)()
	x, err := c.serverOf(o.Partition, func(s *settings) *settings { return s.ofPartition(o.Partition) })
	if err != nil {
		return at, err
	}
	x.partition = &tenant{own: o, count: c.Partitions, committed: func() { c.committed(o.Partition) }}
	if err := x.archive.ofPartition(c, x); err != nil {
		return at, err
	}
	if err = c.runServer(ctx, o.Partition, x); err == nil && o.Begun() {
		at = x.sink.End()
		c.handout.finish(context.WithoutCancel(ctx), x, at)
	}
	return at, err
}

// runServer is the life of the server of a partition.
func (c *member) runServer(ctx context.Context, p int, x *server) error {
	c.mu.Lock()
	c.servers[p] = x
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.servers, p)
	}()
	return x.run(ctx)
}

// partitionWAL is the size of the write-ahead log of a partition: there are many.
const partitionWAL = 8 << 20

// serverOf makes the server of a partition. Its part of the settings is taken again with each reload.
func (c *member) serverOf(p int, part func(*settings) *settings) (*server, error) {
	again := func() (*settings, error) {
		s, err := c.again()
		if err != nil {
			return nil, err
		}
		return part(s), nil
	}
	x, err := newServer(part(c.settings), again)
	if err != nil {
		return nil, err
	}
	x.partition = &tenant{count: c.Partitions} // before its metrics are registered
	x.room, x.sink.Alive, x.sink.Modes.WAL = c.room, nil, partitionWAL
	x.log = x.log.With("partition", p)
	x.sink.Log, x.tail.Log = x.log, x.log
	x.metrics = x.registry() // of these
	return x, nil
}

// parts are the servers of the partitions that are owned now.
func (c *member) parts() map[int]*server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.servers)
}

// notify tells the service manager about the process: what a partition does is not that.
func (c *server) notify(states ...string) {
	if c.partition == nil {
		daemon.Notify(states...)
	}
}
