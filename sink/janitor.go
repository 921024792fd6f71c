package sink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"fanin/internal/disk"
	"fanin/internal/pace"
	"fanin/sink/archive"
)

// janitor compresses and removes rotated files, on a goroutine of its own: it may be
// slow, and its failures delay nothing but itself. Compression leaves the processors to the
// writer: it pauses, and not its thread has a low priority, because a goroutine that the
// kernel does not let run would keep one of Go's processors from the writer. What the
// janitor does is always first in the catalog, durably.
type janitor struct {
	s        *Sink
	mover    mover
	governor *pace.Governor
	wake     chan struct{}
	cancel   context.CancelFunc
	done     sync.WaitGroup
	began    time.Time
	clock    clockGuard
	reported string          // the last file of others that was in the way
	unseen   map[uint64]bool // renamed files that the last pass did not find
	finished bool            // no file is left that was to be removed when its archive was made

	retention atomic.Pointer[RetentionPolicy]
	consumers atomic.Pointer[Consumers] // nil: none registered
}

func newJanitor(s *Sink, m mover, before time.Time) *janitor {
	now := time.Now()
	j := &janitor{s: s, mover: m, governor: pace.New(s.Worked, pace.KeepUp), wake: make(chan struct{}, 1), began: now,
		unseen: make(map[uint64]bool),
		clock:  newClockGuard(before, now)}
	retention := s.Retention
	j.retention.Store(&retention)
	return j
}

func (j *janitor) start() {
	ctx, cancel := context.WithCancel(context.Background())
	j.cancel = cancel
	j.done.Go(func() { j.run(ctx) }) // ends by stop
	j.wakeUp()
}

// wakeUp has the janitor look soon. It never waits.
func (j *janitor) wakeUp() {
	if j == nil {
		return // still opening
	}
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

func (j *janitor) stop() {
	j.cancel()
	j.done.Wait()
}

func (j *janitor) run(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-j.wake:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := j.pass(ctx, time.Now()); err != nil && ctx.Err() == nil {
			j.s.counts.upkeep.errors.Add(1)
			j.s.Log.Error("cannot compress or remove rotated files; trying again in a minute", "err", err)
		}
		for _, c := range j.readers() {
			if c.Looked != nil {
				c.Looked()
			}
		}
	}
}

// pass does everything that there is to do now. A file whose other form cannot be read keeps nothing else from
// being done, above all not retention.
func (j *janitor) pass(ctx context.Context, now time.Time) error {
	j.clock.observe(now, time.Since(j.began))
	return errors.Join(j.takeSiblings(ctx), j.tidy(ctx, now))
}

// tidy compresses and removes files.
func (j *janitor) tidy(ctx context.Context, now time.Time) error {
	if err := j.finishEarlier(ctx); err != nil {
		return err
	}
	if err := j.retain(ctx, now); err != nil {
		return err
	}
	if j.retention.Load().Compress != "gzip" {
		return nil
	}
	tried := make(map[uint64]bool)
	for g := j.nextPlain(tried); g != nil; g = j.nextPlain(tried) {
		if err := j.compress(ctx, *g); err != nil {
			return err
		}
		if err := j.retain(ctx, now); err != nil { // compressing takes long, and the log grows meanwhile
			return err
		}
	}
	return nil
}

// nextPlain returns the oldest file that is to be compressed and was not tried yet, and notes it; nil: there is none.
// Readers may still be in the newest. But the sooner it is elsewhere, the better. What another program rotated, that
// one compresses, if it is to be.
func (j *janitor) nextPlain(tried map[uint64]bool) *Generation {
	closed := j.closed()
	for i, g := range closed {
		newest := i == len(closed)-1 && j.s.archive == nil
		if g.State == statePlain && isBackup(j.s.Path, g.Name) && !tried[g.Number] && !newest {
			tried[g.Number] = true
			return &g
		}
	}
	return nil
}

func (j *janitor) generations() []Generation {
	j.s.view.mu.RLock()
	defer j.s.view.mu.RUnlock()
	return j.s.view.catalog.list()
}

// closed lists the rotated files that are there, oldest first.
func (j *janitor) closed() (closed []Generation) {
	for _, g := range j.generations() {
		if g.State == statePlain || g.State == stateGzip {
			closed = append(closed, g)
		}
	}
	return closed
}

func (j *janitor) file(name string) string { return filepath.Join(filepath.Dir(j.s.Path), name) }

// change changes one generation in the catalog, durably.
func (j *janitor) change(ctx context.Context, number uint64, change func(c *catalog, g *generation)) error {
	return j.s.do(ctx, func(w *writer) error {
		w.s.view.mu.Lock()
		for _, g := range w.catalog.generations {
			if g.number == number {
				change(w.catalog, g)
				w.catalog.touchGeneration(g)
				break
			}
		}
		w.s.view.mu.Unlock()
		return w.checkpoint()
	})
}

// finishEarlier finishes what an earlier pass began: files marked as removed, plain
// files beside the archive that the catalog names, and half archives.
func (j *janitor) finishEarlier(ctx context.Context) error {
	finished := true
	for _, g := range j.generations() {
		var err error
		switch {
		case g.State == stateRemoved:
			err = j.remove(ctx, g)
		case g.State == stateGzip && !j.finished:
			var done bool
			done, err = j.finishArchive(ctx, g)
			finished = finished && done
		}
		if err != nil {
			return err
		}
	}
	j.finished = finished
	entries, err := os.ReadDir(filepath.Dir(j.s.Path))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if archive.IsTemp(e.Name()) && j.mover.isBackup(archive.SourceOfTemp(e.Name())) {
			if err := j.s.Disk.Remove(j.file(e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// compress replaces a plain file by its archive. The archive is whole, checked
// and durable before the catalog names it, and only then is the plain one removed.
func (j *janitor) compress(ctx context.Context, g Generation) error {
	plain := j.file(g.Name)
	if j.s.IsMissing(ctx, g) {
		return j.change(ctx, g.Number, func(_ *catalog, g *generation) { g.state, g.name = stateLost, "" })
	}
	fi, err := os.Stat(plain)
	if err != nil {
		return ctx.Err() // another process packs it: the next pass takes that up
	}
	switch made, err := j.archived(ctx, plain); {
	case err != nil:
		j.reportForeign(plain+".gz", err)
		return ctx.Err()
	case made:
	default:
		if _, err := archive.Compress(ctx, j.s.Disk, plain, j.s.Modes.File, j.governor.Yield); err != nil {
			return fmt.Errorf("compress %s: %w", g.Name, err)
		}
	}
	err = j.change(ctx, g.Number, func(_ *catalog, g *generation) {
		g.state, g.name, g.inode = stateGzip, g.name+".gz", disk.Inode(fi)
	})
	if err != nil {
		return err
	}
	j.s.counts.upkeep.compressed.Add(1)
	j.finished = false
	if now, err := os.Stat(plain); err != nil || !os.SameFile(now, fi) || !exists(plain+archive.Suffix) {
		return nil // another process has just unpacked it
	}
	err = j.s.Disk.Remove(plain)
	j.finished = err == nil
	return err
}

// archived reports whether a pass that was not done has made the archive of a plain
// file. An error: what bears that name is none, and not ours to remove.
func (j *janitor) archived(ctx context.Context, plain string) (bool, error) {
	if !exists(plain + ".gz") {
		return false, nil
	}
	src, err := j.s.Disk.Open(plain, os.O_RDONLY, 0)
	if err != nil {
		return false, err
	}
	defer src.Close()
	return true, archive.Verify(ctx, j.s.Disk, src, plain+".gz", j.governor.Yield)
}

// reportForeign reports once that a foreign file keeps the log's from being compressed.
func (j *janitor) reportForeign(path string, err error) {
	if j.reported == path {
		return
	}
	j.reported = path
	j.s.counts.upkeep.errors.Add(1)
	j.s.Log.Warn("a foreign file has the name that an archive of the log would get, so a rotated file stays "+
		"uncompressed; "+
		"move the foreign file away", "path", path, "err", err)
}

// retain removes the oldest files for as long as there are too many, too old
// ones or too many bytes. The live file stays whatever it weighs.
func (j *janitor) retain(ctx context.Context, now time.Time) error {
	closed := j.closed()
	total := int64(0)
	for _, g := range append(closed, j.live()) {
		if fi, err := j.form(g); err == nil {
			total += fi.Size()
		}
	}
	j.s.watchShares(total, j.retention.Load().Bytes)
	for i, g := range closed {
		fi, err := j.form(g)
		if err != nil {
			continue
		}
		if !j.exceeds(g, len(closed)-i, total, now) || j.held(g, total, now) {
			return nil
		}
		if err := j.expire(ctx, g); err != nil {
			return err
		}
		if err := j.change(ctx, g.Number, func(_ *catalog, g *generation) { g.state = stateRemoved }); err != nil {
			return err
		}
		if err := j.remove(ctx, g); err != nil {
			return err
		}
		total -= fi.Size()
		j.s.counts.upkeep.removed.Add(1)
		j.s.Log.Info("removed a rotated file", "file", g.Name, "generation", g.Number, "bytes", fi.Size())
	}
	return nil
}

// exceeds reports whether the oldest of so many rotated files is one too many: by their
// number, its age, or the bytes of all.
func (j *janitor) exceeds(oldest Generation, files int, total int64, now time.Time) bool {
	p := j.retention.Load()
	return p.Files > 0 && files > p.Files ||
		p.Age > 0 && now.Sub(oldest.Closed) > p.Age && j.clock.trusted() ||
		p.Bytes > 0 && total > p.Bytes
}

// held reports whether a reader needs a file, and may still have it kept.
func (j *janitor) held(g Generation, total int64, now time.Time) bool {
	p, c := j.retention.Load(), j.consumers.Load()
	if c == nil && p.AwaitConsumers {
		return true
	}
	age := time.Duration(0) // distrusted clocks make nothing old
	if j.clock.trusted() {
		age = now.Sub(g.Closed)
	}
	holds := func(c *Consumers, most int64, longest time.Duration) bool {
		if c == nil || c.Needed == nil || most <= 0 || total > most || longest > 0 && age > longest {
			return false
		}
		at, any := c.Needed()
		return any && at.Generation <= g.Number
	}
	return holds(c, p.HoldBytes, p.HoldAge) || holds(j.s.relay, p.HoldRelay, p.HoldRelayAge) ||
		holds(j.s.archive, p.HoldArchive, p.HoldArchiveAge)
}

// readers are the consumers that are registered.
func (j *janitor) readers() (all []*Consumers) {
	for _, c := range []*Consumers{j.s.relay, j.s.archive, j.consumers.Load()} {
		if c != nil {
			all = append(all, c)
		}
	}
	return all
}

// expire tells the consumers that a file is about to be removed.
func (j *janitor) expire(ctx context.Context, g Generation) error {
	all := j.generations()
	for i := range all[:len(all)-1] {
		if all[i].Number != g.Number {
			continue
		}
		for _, c := range j.readers() {
			if c.Expire == nil {
				continue
			}
			if err := c.Expire(ctx, g, all[i+1]); err != nil {
				return err
			}
		}
		return nil
	}
	return nil
}

func (j *janitor) live() Generation {
	gs := j.generations()
	return gs[len(gs)-1]
}

// remove removes the files of a generation that the catalog has as removed.
func (j *janitor) remove(ctx context.Context, g Generation) error {
	if err := j.removeSibling(ctx, g); err != nil {
		return err
	}
	if j.holds(g) {
		if err := j.s.Disk.Remove(j.file(g.Name)); err != nil {
			return err
		}
	}
	for _, path := range []string{ledgerName(j.s.State, g.Number), summaryName(j.s.State, g.Number),
		marksName(j.s.State, g.Number)} {
		if err := j.s.Disk.Remove(path); err != nil {
			return err
		}
	}
	j.s.view.counted.Delete(g.Number)
	return j.change(ctx, g.Number, func(c *catalog, g *generation) { c.drop(g) })
}

// clockGuard distrusts a wall clock that jumped by more than a day: no file is
// too old before the process has then run for a day more.
type clockGuard struct {
	wall  time.Time     // at the last look
	up    time.Duration // how long the process had run then
	until time.Duration // do not trust before
}

const clockJump = 24 * time.Hour

// newClockGuard starts at wall; before is the wall clock at the last checkpoint.
func newClockGuard(before, wall time.Time) clockGuard {
	g := clockGuard{wall: wall.Round(0)}
	if d := wall.Round(0).Sub(before); !before.IsZero() && (d > clockJump || d < -clockJump) {
		g.until = clockJump
	}
	return g
}

// observe compares the wall clock with the time that the process has run, by a clock
// that cannot be set.
func (g *clockGuard) observe(wall time.Time, up time.Duration) {
	jump := wall.Round(0).Sub(g.wall) - (up - g.up)
	if jump > clockJump || jump < -clockJump {
		g.until = up + clockJump
	}
	g.wall, g.up = wall.Round(0), up
}

func (g *clockGuard) trusted() bool { return g.up >= g.until }
