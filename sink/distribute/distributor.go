// Package distribute hands the lines of a log out to workers (push). Workers join
// groups. Every group gets every line, and within a group each line goes to one worker
// until one has acknowledged it. The file is the queue: a group is a position in the log
// plus the few lines before it that are not finished. So a slow worker costs disk space,
// never memory, and never delays the writer.
package distribute

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"fanin/internal/pace"
	"fanin/internal/retry"
	"fanin/sink"
)

// Settings are what a Distributor can be set to. Zero fields take the defaults named.
type Settings struct {
	Log *slog.Logger // nil: discard
	TLS *tls.Config  // nil: plain TCP

	// Allowed, with TLS, returns why a worker with this certificate may not connect. Nil:
	// every worker may.
	Allowed func(tls.ConnectionState) error

	// Admit decides whether a worker may join, by its connection, which is a *tls.Conn with
	// TLS, and by the token in its greeting. leave is called when the connection has ended;
	// before that, the connection may be closed from outside. reason is "role", "token", "token_limited"
	// or "unencrypted". Nil: every worker may. Workers within this process are not asked about.
	Admit func(nc net.Conn, token string) (leave func(), reason string, err error)

	// Windows: a group gets what Allow lets it have, and nothing else. Workers come over a Director.
	Windows bool
	// Partition is the number of the log's in a cluster, for workers; "": it is of none.
	Partition string
	DrainTime time.Duration // how long Shutdown waits for answers; default 5 s

	Lease    time.Duration // longest time for an answer; default 1 min
	Attempts int           // for each line; default 8

	// Retry is the pause before the second attempt at a line that a worker reported as
	// failed. It doubles with each further attempt. Default 1 s.
	Retry time.Duration

	// Bounds per address (see package origin) do not apply to 127.0.0.1 and ::1.
	MaxWorkers      int // connections at a time; default 1,000
	MaxWorkersPerIP int // of one address; default 256; < 0: no bound
	MaxGroups       int // default 64
	MaxGroupsPerIP  int // created by workers of one address since the start, and not removed; default 16; < 0: no bound
	MaxCredit       int // lines that a worker may have unanswered; default 65,536

	DeadLetterBytes  int64         // size at which a file of dead letters is renamed; default 256 MiB
	HandshakeTimeout time.Duration // for TLS and the greeting; default 10 s
}

func (s *Settings) defaults() {
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	s.DrainTime = cmp.Or(s.DrainTime, 5*time.Second)
	s.Lease = cmp.Or(s.Lease, time.Minute)
	s.Attempts = cmp.Or(s.Attempts, 8)
	s.Retry = cmp.Or(s.Retry, time.Second)
	s.MaxWorkers = cmp.Or(s.MaxWorkers, 1000)
	s.MaxWorkersPerIP = cmp.Or(s.MaxWorkersPerIP, 256)
	s.MaxGroups = cmp.Or(s.MaxGroups, 64)
	s.MaxGroupsPerIP = cmp.Or(s.MaxGroupsPerIP, 16)
	s.MaxCredit = cmp.Or(s.MaxCredit, 1<<16)
	s.DeadLetterBytes = cmp.Or(s.DeadLetterBytes, 256<<20)
	s.HandshakeTimeout = cmp.Or(s.HandshakeTimeout, 10*time.Second)
}

// Distributor hands out the lines of one log. Make it with New, Open it, Serve
// listeners, Shutdown.
type Distributor struct {
	sink     *sink.Sink
	log      *slog.Logger
	settings atomic.Pointer[Settings] // see Use

	door     door
	groups   groups
	cursors  *cursors
	counts   counts
	warnings *retry.Log // with a bound on repeated messages
	governor *pace.Governor
	served   atomic.Int64 // groups with workers
	buffers  buffers
	seed     maphash.Seed // of the keys' hashes

	ctx    context.Context // of all goroutines but those of connections
	cancel context.CancelFunc
	work   sync.WaitGroup
}

// ErrClosed is the error of Serve after Shutdown.
var ErrClosed = errors.New("distribute: closed")

// ErrNoGroup is the error for a group that does not exist.
var ErrNoGroup = errors.New("no such group")

// New returns a distributor of k's lines. The distributor is opened after k
// and closed before it. So that retention respects the groups before the distributor
// is open, k's policy sets AwaitConsumers.
func New(k *sink.Sink, s Settings) *Distributor {
	s.defaults()
	d := &Distributor{sink: k, log: s.Log, door: newDoor(), groups: newGroups(),
		warnings: retry.NewLog(s.Log), seed: maphash.MakeSeed()}
	d.settings.Store(&s)
	d.governor = pace.New(k.Worked, pace.GiveWay)
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d
}

// Use puts other settings into force, but for Log. Workers that are connected keep the lease that
// they were welcomed with.
func (d *Distributor) Use(s Settings) {
	s.defaults()
	d.settings.Store(&s)
}

// Settings returns the settings in force, with their defaults.
func (d *Distributor) Settings() Settings { return *d.now() }

func (d *Distributor) now() *Settings { return d.settings.Load() }

// Open loads the positions of the groups and starts their dispatchers.
func (d *Distributor) Open(ctx context.Context) error {
	var err error
	if d.cursors, err = openCursors(d); err != nil {
		d.cancel()
		return fmt.Errorf("open the cursors of the groups: %w", err)
	}
	for _, g := range d.groups.all() {
		if err := g.resumeDeadLetters(); err != nil {
			d.cancel()
			return fmt.Errorf("open the dead letters of group %s: %w", g.name, err)
		}
		d.start(g)
	}
	d.work.Go(func() { d.cursors.run(d.ctx) }) // ends by Shutdown
	d.sink.SetConsumers(sink.Consumers{Needed: d.needed, Expire: d.expire})
	d.saveSoon() // writes the dead letters that a crash kept from their file
	return ctx.Err()
}

// start starts a group's dispatcher, which ends by Shutdown.
func (d *Distributor) start(g *group) {
	ctx, cancel := context.WithCancel(d.ctx)
	g.stop = cancel
	d.work.Go(func() { g.run(ctx) })
}

// Replay moves a group to another position of the log, see sink.Sink.Place, and returns
// it. Answers to lines that its workers have at the moment no longer count.
func (d *Distributor) Replay(ctx context.Context, name, from string) (sink.Position, error) {
	g, err := d.existing(name)
	if err != nil {
		return sink.Position{}, err
	}
	at, err := d.sink.Resolve(ctx, from)
	if err != nil {
		return at, err
	}
	g.move(at)
	return at, d.cursors.flush(ctx)
}

// Progress returns the position before which a group has finished every line, and how many
// lines it has accepted in its life; false: there is no such group.
func (d *Distributor) Progress(name string) (low sink.Position, accepted uint64, ok bool) {
	g := d.groups.get(name)
	if g == nil {
		return low, 0, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lowLocked(), g.counts.Accepted, true
}

// Forget removes a group and disconnects its workers. Its dead letters stay.
func (d *Distributor) Forget(ctx context.Context, name string) error {
	g, err := d.existing(name)
	if err != nil {
		return err
	}
	d.groups.remove(name)
	g.remove()
	d.cursors.forced.Store(true)
	return d.cursors.flush(ctx)
}

// needed returns the lowest position that a group still needs; false: there is no group.
func (d *Distributor) needed() (low sink.Position, any bool) {
	for _, g := range d.groups.all() {
		g.mu.Lock()
		at := g.lowLocked()
		g.mu.Unlock()
		if !any || at.Compare(low) < 0 {
			low, any = at, true
		}
	}
	return low, any
}

// expire is called before retention removes a file: lines in it that a group has not
// finished are counted and abandoned, durably.
func (d *Distributor) expire(ctx context.Context, gen, next sink.Generation) error {
	for _, g := range d.groups.all() {
		if err := g.expire(ctx, gen, sink.Position{Generation: next.Number}); err != nil {
			return err
		}
	}
	return d.cursors.flush(ctx)
}

// after returns where a group continues whose position is not in the log: after the file
// that the position names, or at the beginning of the live file.
func (d *Distributor) after(at sink.Position) sink.Position {
	end := d.sink.End()
	for _, g := range d.sink.Status().Generations {
		if g.Number > at.Generation {
			return sink.Position{Generation: g.Number}
		}
	}
	if at.Generation > end.Generation {
		return sink.Position{Generation: end.Generation}
	}
	return end
}

// Shutdown stops handing lines out, tells the workers, waits a while for their answers,
// no longer than ctx allows, and saves the positions of the groups. A distributor that was
// not opened has none: the collector stopped before, or a partition of a cluster moved on.
func (d *Distributor) Shutdown(ctx context.Context) error {
	if d.cursors == nil {
		d.door.close()
		d.cancel()
		return nil
	}
	d.drain()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.Now().Add(d.now().DrainTime)
	for d.counts.inFlight.Load() > 0 && time.Now().Before(end) && ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	d.door.disconnect()
	last, done := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer done()
	err := d.cursors.flush(last)
	d.cancel()
	d.work.Wait()
	return errors.Join(err, d.cursors.close())
}

// drain stops handing lines out, and tells the workers.
func (d *Distributor) drain() {
	d.door.close()
	for _, g := range d.groups.all() {
		g.announceDrain()
	}
}
