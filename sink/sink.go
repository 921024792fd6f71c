// Package sink keeps lines: one writer commits batches to a write-ahead log,
// acknowledges them, and appends their lines to one rotated file.
package sink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"fanin/internal/counters"
	"fanin/internal/disk"
	"fanin/internal/wire"
)

// Sink is the one writer of a log. Set the fields, Open it, Append to it from
// any number of goroutines, Close it. Zero fields take the defaults named.
type Sink struct {
	Path   string // the log's live file, or a link to it; required
	State  string // directory of the write-ahead log and all else; default: .NAME.fanin beside Path
	Format string // "syslog" (default), "json", "raw"
	Sync   string // "commit" (default): acknowledged lines survive a power cut; "none": kill -9 only

	Rotation  RotationPolicy
	Retention RetentionPolicy
	Limits    Limits        // of streams; these three may change while the log is open, see Use
	Keys      KeyLimits     // of requests with a key
	Inputs    *counters.Set // counts what becomes of each input's lines; nil: its own

	Modes FileModes

	Host  string       // the host that the log's own notices name; default: host name
	Log   *slog.Logger // default: discard
	Alive func()       // called by the writer itself, at least once a second while it can work
	Disk  *disk.Disk   // nil: the real one

	env    environment
	own    ownership
	queue  queue
	counts *counts
	view   view

	background
}

// background is what looks after the files beside the writer.
type background struct {
	janitor    *janitor
	summarizer *summarizer
	relay      *Consumers                                  // that forwards the log; nil: it is not forwarded
	archive    *Consumers                                  // that copies closed files elsewhere; nil: nothing does
	onClose    func(generation uint64, marks []StreamMark) // may be nil
}

// environment is what tests replace.
type environment struct {
	walSize int64            // of the write-ahead log
	boot    string           // boot id of the machine
	now     func() time.Time // the clock that keys age by
	fresh   bool             // histograms have the live file as it is, and not as it was a second ago

	recovered func(outcome string) // is called with the row of outcomes that decided
}

// ownership is what makes this process the log's one writer.
type ownership struct {
	named string       // Path as it was given: perhaps a link
	locks []*disk.File // of the log's name, of the state
	probe *disk.File   // the live file, locked until the writer has it
}

// queue is what goroutines hand to the writer, and how they learn that it ended.
type queue struct {
	requests requests
	calls    chan func(*writer) error
	notices  notices
	quit     chan struct{} // closed by Close: no more batches
	ended    chan struct{} // closed by the writer when it has ended
	failed   chan struct{} // closed before ended if the writer ended without Close
	closing  sync.Once
	idle     sync.Pool // of *request
	busy     busyTime
}

// view is what other goroutines than the writer's see of the log. The writer alone
// changes catalog, size, trouble and err, and holds mu while it does.
type view struct {
	mu      sync.RWMutex
	catalog *catalog
	size    int64         // of the live file, as far as readers may read
	grown   chan struct{} // closed when size changes; nil: nothing waits
	trouble string        // why no batches are taken, and the remedy
	err     error         // what ended the writer

	counted  sync.Map    // lines of each closed file that was counted, by generation; needs no mu
	times    timeIndexes // needs no mu
	observed *observed   // nil: this process writes the log
}

// The modes of Sync.
const (
	syncCommit = "commit"
	syncNone   = "none"
)

// The default size of the write-ahead log. In mode none it is small enough to
// stay in the processor's cache, since nothing of it waits for the disk.
const (
	walSizeCommit = 64 << 20
	walSizeNone   = 8 << 20
)

var _ wire.Appender = (*Sink)(nil)

func (s *Sink) defaults() error {
	path, err := locate(s.Path)
	if err != nil {
		return err
	}
	s.own.named, s.Path = s.Path, path
	if s.State, err = filepath.Abs(cmp.Or(s.State, StateDir(path))); err != nil {
		return fmt.Errorf("state of the log: %w", err)
	}
	p := Policies{s.Rotation, s.Retention, s.Limits}
	p.defaults()
	s.Rotation, s.Retention, s.Limits = p.Rotation, p.Retention, p.Limits
	s.Keys.defaults()
	if s.env.now == nil {
		s.env.now = time.Now
	}
	s.Format = cmp.Or(s.Format, "syslog")
	s.Sync = cmp.Or(s.Sync, syncCommit)
	s.Modes.File = cmp.Or(s.Modes.File, 0o640)
	s.Modes.Dir = cmp.Or(s.Modes.Dir, 0o750)
	if s.Sync != syncCommit && s.Sync != syncNone {
		return fmt.Errorf("sync %q: want %q or %q", s.Sync, syncCommit, syncNone)
	}
	if s.env.walSize = cmp.Or(s.env.walSize, s.Modes.WAL); s.env.walSize == 0 {
		s.env.walSize = map[string]int64{syncCommit: walSizeCommit, syncNone: walSizeNone}[s.Sync]
	}
	if s.Host == "" {
		s.Host, _ = os.Hostname()
	}
	s.Host = cmp.Or(wire.CleanHost(s.Host), "localhost")
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Open locks the log, completes what a crash interrupted, makes that durable and starts
// the writer. Positions and acknowledgements may be sent only after it returned nil.
// ctx bounds the opening alone.
func (s *Sink) Open(ctx context.Context) error {
	if err := s.defaults(); err != nil {
		return err
	}
	s.env.boot = cmp.Or(s.env.boot, disk.BootID())
	s.queue.requests.wake, s.queue.calls = make(chan struct{}, 1), make(chan func(*writer) error)
	s.queue.quit, s.queue.ended, s.queue.failed = make(chan struct{}), make(chan struct{}), make(chan struct{})
	s.queue.notices.wake = make(chan struct{}, 1)
	s.counts, s.summarizer = newCounts(s.Inputs), newSummarizer(s)
	s.queue.idle.New = func() any { return &request{outcome: make(chan error, 1)} }
	if err := s.lock(); err != nil {
		return err
	}
	if s.own.probe != nil {
		s.own.probe.HaveMode(s.Modes.File) // openFile says so if that cannot be
	}
	// What waits for room waits for quit, too: a start on a full disk can be ended.
	stop := context.AfterFunc(ctx, s.refuseMore)
	defer stop()
	w, err := s.recover(ctx)
	if err != nil {
		w.close()
		s.unlock()
		return fmt.Errorf("open the log %s: %w", s.Path, err)
	}
	s.markLock(s.own.locks[0], w.catalog.log)
	w.keyClock = newKeyClock(w.checkpoints.before, s.env.now)
	s.janitor = newJanitor(s, w.mover, w.checkpoints.before)
	s.summarizer.live.begin(w.catalog.live().summaryFile(w.file.size))
	go s.work(w) // ends by Close, or by a failed disk; closes ended
	s.janitor.start()
	s.summarizer.start()
	return nil
}

// work is the writer's goroutine.
func (s *Sink) work(w *writer) {
	err := w.run()
	s.view.mu.Lock()
	s.view.err = err
	s.view.mu.Unlock()
	if err != nil && !errors.Is(err, errClosed) {
		s.Log.Error("the log accepts no more lines; restart the collector", "err", err)
		close(s.queue.failed)
	}
	s.queue.requests.close(err)
	close(s.queue.ended)
}

// Append commits b: after nil, its lines are in the write-ahead log for good and
// on their way into the file. See wire.Appender. Once the writer has b, Append
// waits for the outcome whatever ctx says, since b.Text is in use.
func (s *Sink) Append(ctx context.Context, b wire.Batch) error {
	if err := b.Check(); err != nil {
		s.counts.of(b.Input).Rejected(counters.TooLarge, countLines(b.Text))
		return err
	}
	r := s.queue.idle.Get().(*request)
	r.own = b
	r.batch = &r.own
	err := s.queue.requests.append(ctx, r)
	r.batch = nil
	r.own = wire.Batch{}
	s.queue.idle.Put(r)
	return err
}

// do has the writer run f between two groups and waits until it did. The error
// that f returns ends the writer.
func (s *Sink) do(ctx context.Context, f func(w *writer) error) error {
	done := make(chan error, 1)
	call := func(w *writer) error {
		err := f(w)
		done <- err
		return err
	}
	select {
	case s.queue.calls <- call:
		return <-done
	case <-ctx.Done():
		return fmt.Errorf("the writer is busy: %w", ctx.Err())
	case <-s.queue.quit:
		return wire.ErrDraining
	case <-s.queue.ended:
		return cmp.Or(s.Err(), wire.ErrDraining) // f was not called
	}
}

// Err is what ended the writer, nil while it works and after Close.
func (s *Sink) Err() error {
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	if errors.Is(s.view.err, errClosed) {
		return nil
	}
	return s.view.err
}

// Failed is closed when the writer ended by itself, after a write or a sync
// failed: the process must exit non-zero and start again, which mends it.
func (s *Sink) Failed() <-chan struct{} { return s.queue.failed }

// Close commits what was accepted, writes a last checkpoint and ends the writer.
// Append then returns wire.ErrDraining. Close waits as long as ctx allows.
func (s *Sink) Close(ctx context.Context) error {
	s.refuseMore()
	s.janitor.stop()
	s.summarizer.stop()
	select {
	case <-s.queue.ended:
	case <-ctx.Done():
		return fmt.Errorf("close the log: %w; the next start finishes what was committed", ctx.Err())
	}
	s.summarizer.saveLast()
	s.unlock()
	return s.Err()
}

// refuseMore has the writer take no more.
func (s *Sink) refuseMore() {
	s.queue.requests.close(wire.ErrDraining)
	s.queue.closing.Do(func() { close(s.queue.quit) })
}

func (s *Sink) alive() {
	if s.Alive != nil {
		s.Alive()
	}
}

// errClosed is the outcome of an Append that came too late.
var errClosed = errors.New("the log is closed")
