// Package sink keeps lines: one writer puts batches into a write-ahead log,
// acknowledges them, and lays them out in one rotated file.
package sink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"fanin/internal/counters"
	"fanin/internal/disk"
	"fanin/internal/wire"
	"fanin/sink/line"
)

// Sink is the one writer of a log. Set the fields, Open it, Append to it from
// any number of goroutines, Close it. Zero fields take the defaults named.
type Sink struct {
	Path   string // the log's live file, or a link to it; required
	State  string // directory of the write-ahead log and all else; default: .NAME.fanin beside Path
	Format string // "syslog" (default), "json", "raw"
	Sync   string // "commit" (default): acknowledged lines survive a power cut; "none": kill -9 only

	RotateSize  int64         // rotate before the file grows beyond this many bytes; default 256 MiB; < 0 never
	RotateEvery time.Duration // rotate a file with lines in it after this long; 0 never
	RotateAt    time.Duration // with RotateEvery: at this time after midnight UTC, and every RotateEvery from there
	RotateAtSet bool          // whether RotateAt is meant (midnight is 0)
	KeepFiles   int           // rotated files to keep; 0 all
	KeepAge     time.Duration // remove rotated files whose last line is older; 0 never
	KeepBytes   int64         // bytes of live and rotated files to keep; default 10 GiB; < 0 no bound
	Compress    string        // "gzip" (default), "none"

	// Readers that must have every line may ask for files to be kept. Needed names
	// the lowest position that one of them needs; files from there on are kept
	// beyond what retention says, up to HoldBytes of the log in all and, if HoldAge is
	// not 0, until HoldAge after their last line. Expire is called before a file
	// goes, with the one that follows it; an error puts its removal off.
	Needed    func() (at Position, any bool)
	HoldBytes int64
	HoldAge   time.Duration
	Expire    func(ctx context.Context, g, next Generation) error

	Limits Limits        // of streams
	Keys   KeyLimits     // of requests with a key
	Inputs *counters.Set // counts what becomes of each input's lines; nil: its own

	Mode    fs.FileMode // of the log's files; default 0640
	DirMode fs.FileMode // of directories that Open makes; default 0750

	Host  string       // the host that the log's own notices name; default: host name
	Log   *slog.Logger // default: discard
	Alive func()       // called by the writer itself, at least once a second while it can work
	Disk  *disk.Disk   // nil: the real one

	walSize int64 // of the write-ahead log; tests make it small

	named   string           // Path as it was given: perhaps a link
	boot    string           // of the machine; tests pretend another
	now     func() time.Time // for the age of keys; tests set it
	locks   []*disk.File
	probe   *disk.File // the live file, locked until the writer has it
	in      chan *request
	calls   chan func(*writer) error
	quit    chan struct{} // closed by Close: no more batches
	ended   chan struct{} // closed by the writer when it is gone
	failed  chan struct{} // closed before ended when it did not go by itself
	closing sync.Once
	idle    sync.Pool // of *request
	counts  *counts
	counted sync.Map     // by generation: how many lines a closed file holds
	worked  atomic.Int64 // nanoseconds that the writer was at work, but for now
	working atomic.Int64 // since when it is, in nanoseconds since 1970; 0: it waits
	notices notices
	shares  shares
	janitor *janitor

	mu      sync.RWMutex // for all below, which the writer alone changes
	catalog *catalog
	size    int64
	grown   chan struct{} // closed when size changes; nil: nobody waits
	trouble string
	err     error
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
	s.named, s.Path = s.Path, path
	if s.State, err = filepath.Abs(cmp.Or(s.State, StateDir(path))); err != nil {
		return fmt.Errorf("state of the log: %w", err)
	}
	s.Limits.defaults()
	s.Keys.defaults()
	if s.now == nil {
		s.now = time.Now
	}
	s.Format = cmp.Or(s.Format, "syslog")
	s.Sync = cmp.Or(s.Sync, syncCommit)
	s.RotateSize = cmp.Or(s.RotateSize, 256<<20)
	s.KeepBytes = cmp.Or(s.KeepBytes, 10<<30)
	s.Compress = cmp.Or(s.Compress, "gzip")
	s.Mode = cmp.Or(s.Mode, 0o640)
	s.DirMode = cmp.Or(s.DirMode, 0o750)
	if s.Sync != syncCommit && s.Sync != syncNone {
		return fmt.Errorf("sync %q: want %q or %q", s.Sync, syncCommit, syncNone)
	}
	if s.walSize == 0 {
		s.walSize = map[string]int64{syncCommit: walSizeCommit, syncNone: walSizeNone}[s.Sync]
	}
	if s.Host == "" {
		s.Host, _ = os.Hostname()
	}
	s.Host = line.CleanName(s.Host, true, "localhost")
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Open locks the log, repeats what a crash left undone, makes that durable and
// starts the writer. Only when it returned nil may anybody be told anything.
// ctx bounds the opening alone.
func (s *Sink) Open(ctx context.Context) error {
	if err := s.defaults(); err != nil {
		return err
	}
	s.boot = cmp.Or(s.boot, disk.BootID())
	s.in, s.calls = make(chan *request), make(chan func(*writer) error)
	s.quit, s.ended, s.failed = make(chan struct{}), make(chan struct{}), make(chan struct{})
	s.notices.wake = make(chan struct{}, 1)
	s.counts = newCounts(s.Inputs)
	s.idle.New = func() any { return &request{outcome: make(chan error, 1)} }
	if err := s.lock(); err != nil {
		return err
	}
	if s.probe != nil {
		s.probe.HaveMode(s.Mode) // openFile says so if that cannot be
	}
	// What waits for room waits for quit, too: a start on a full disk can be ended.
	stop := context.AfterFunc(ctx, s.quitting)
	defer stop()
	w, err := s.recover(ctx)
	if err != nil {
		w.close()
		s.unlock()
		return fmt.Errorf("open the log %s: %w", s.Path, err)
	}
	s.markLock(s.locks[0], w.catalog.log)
	w.keyClock = newKeyClock(w.before, s.now)
	s.janitor = newJanitor(s, w.mover, w.before)
	go s.work(w) // ends by Close, or by a failed disk; closes ended
	s.janitor.start()
	return nil
}

// work is the writer's goroutine.
func (s *Sink) work(w *writer) {
	err := w.run()
	s.mu.Lock()
	s.err = err
	s.mu.Unlock()
	if err != nil && !errors.Is(err, errClosed) {
		s.Log.Error("the log can take no more lines; start again", "err", err)
		close(s.failed)
	}
	close(s.ended)
}

// Append commits b: after nil, its lines are in the write-ahead log for good and
// on their way into the file. See wire.Appender. Once the writer has b, Append
// waits for the outcome whatever ctx says, since b.Text is in use.
func (s *Sink) Append(ctx context.Context, b wire.Batch) error {
	if err := b.Check(); err != nil {
		s.counts.of(b.Input).Rejected(counters.TooLarge, countLines(b.Text))
		return err
	}
	r := s.idle.Get().(*request)
	r.batch = &b
	select {
	case s.in <- r:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.quit:
		return wire.ErrDraining
	case <-s.ended:
		return s.Err()
	}
	err := <-r.outcome
	r.batch = nil
	s.idle.Put(r)
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
	case s.calls <- call:
		return <-done
	case <-ctx.Done():
		return fmt.Errorf("the writer is busy: %w", ctx.Err())
	case <-s.quit:
		return wire.ErrDraining
	case <-s.ended:
		return s.Err()
	}
}

// Err is what ended the writer, nil while it works and after Close.
func (s *Sink) Err() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if errors.Is(s.err, errClosed) {
		return nil
	}
	return s.err
}

// Failed is closed when the writer ended by itself, after a write or a sync
// failed: the process must exit non-zero and start again, which mends it.
func (s *Sink) Failed() <-chan struct{} { return s.failed }

// Close commits what was taken, writes a last checkpoint and ends the writer.
// Append then returns wire.ErrDraining. It waits as long as ctx allows.
func (s *Sink) Close(ctx context.Context) error {
	s.quitting()
	s.janitor.stop()
	select {
	case <-s.ended:
	case <-ctx.Done():
		return fmt.Errorf("close the log: %w; the next start finishes what was committed", ctx.Err())
	}
	s.unlock()
	return s.Err()
}

// quitting has the writer take no more.
func (s *Sink) quitting() { s.closing.Do(func() { close(s.quit) }) }

func (s *Sink) alive() {
	if s.Alive != nil {
		s.Alive()
	}
}

// errClosed is the outcome of an Append that came too late.
var errClosed = errors.New("the log is closed")
