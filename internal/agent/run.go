package agent

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"fanin/internal/disk"
	"fanin/internal/spool"
	"fanin/internal/wire"
)

// A spooledRun sends what one process reads from standard input:
//
//	standard input --> spool.Spool --> ship.TCP or NATS --> a collector
//
// Its state is a directory of its own, STATE/runs/NAME, with its lock, its instance and its
// spool. NAME is the name of its session, which owns its streams. So any number of runs work
// at the same time, beside an agent with the same state and id. What a run leaves when it is
// killed, a later one sends under the same name.
type spooledRun struct {
	dir     string
	lock    *disk.File
	spool   *spool.Spool
	shipper shipper
	met     chan struct{} // closed at the first welcome
	meet    sync.Once
	stalled stalled
}

// runsName is the directory of the runs in the agent's state.
const runsName = "runs"

func (s *settings) runsDir() string { return filepath.Join(s.Agent.State, runsName) }

// newRun makes the directory of a run.
func newRun(s *settings, log *slog.Logger) (*spooledRun, error) {
	r, err := makeRun(s, log)
	for range 100 { // a run that tidies up takes a new directory for one that is done
		if !errors.Is(err, disk.ErrLocked) && !errors.Is(err, fs.ErrNotExist) {
			break
		}
		r, err = makeRun(s, log)
	}
	if err != nil {
		return nil, fmt.Errorf("make a directory in which lines of standard input wait until they are acknowledged "+
			"(--state or FANIN_STATE sets another one): %w", err)
	}
	if err := r.connect(s, log); err != nil {
		r.spool.Close(context.Background()) // it is empty
		r.remove()
		return nil, err
	}
	return r, nil
}

func makeRun(s *settings, log *slog.Logger) (*spooledRun, error) {
	var d disk.Disk
	dir := filepath.Join(s.runsDir(), runName(time.Now()))
	err := cmp.Or(d.MkdirAll(s.Agent.State, 0o750), d.MkdirAll(s.runsDir(), 0o750), d.Mkdir(dir, 0o700))
	if err != nil {
		return nil, err
	}
	return openRun(s, log, dir)
}

// runName is the name of a new run: 12 hexadecimal digits of the time, in milliseconds since
// 1970, by which runs are sorted, and 12 random ones.
func runName(now time.Time) string {
	name := make([]byte, 6, 12)
	rand.Read(name) // never fails
	return fmt.Sprintf("%012x%x", now.UnixMilli(), name)
}

const runNameSize = 24

// What the directory of a run has, beside its instance.
const (
	lockName  = "lock"
	spoolName = "spool"
)

// openRun opens a run's directory. The error is disk.ErrLocked while its process lives, and
// fs.ErrNotExist when it was removed.
func openRun(s *settings, log *slog.Logger, dir string) (*spooledRun, error) {
	lock, err := new(disk.Disk).Lock(filepath.Join(dir, lockName))
	if err != nil {
		return nil, err
	}
	if !lock.InPlace() { // its process is done, and removed it just before it was locked
		lock.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, fs.ErrNotExist)
	}
	r := &spooledRun{dir: dir, lock: lock, met: make(chan struct{})}
	r.spool, err = spool.Open(s.spool(filepath.Join(dir, spoolName), defaultSource, log))
	if err != nil {
		lock.Close()
		return nil, err
	}
	return r, nil
}

// connect makes the shipper.
func (r *spooledRun) connect(s *settings, log *slog.Logger) error {
	instance, run, err := nextRun(filepath.Join(r.dir, "instance"))
	if err != nil {
		return err
	}
	hello := s.hello(instance, run)
	hello.Session = filepath.Base(r.dir)
	end := session{settings: s, log: log, hello: hello, onWelcome: r.welcome, known: r.spool.Known}
	r.shipper, err = end.shipper()
	return err
}

func (r *spooledRun) welcome(w wire.Welcome, maxText int) {
	r.spool.Welcome(w, maxText)
	r.meet.Do(func() { close(r.met) })
}

// acknowledged grows with what the collector has acknowledged.
func (r *spooledRun) acknowledged() uint64 { return acknowledged(r.spool.Counts()) }

func acknowledged(n map[string]uint64) uint64 {
	return n["spool_acknowledged_lines"] + n["spool_skipped_bytes"] + n["spool_damaged_bytes"]
}

// status is the run as status shows it.
func (r *spooledRun) status() sourceStatus { return spoolStatus("stdin", r.dir, r.spool, &r.stalled) }

// stalled knows for how long a number has not grown, as far as it was looked at.
type stalled struct {
	mu   sync.Mutex
	last uint64
	at   time.Time
}

func (s *stalled) since(n uint64) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n != s.last || s.at.IsZero() {
		s.last, s.at = n, time.Now()
	}
	return time.Since(s.at)
}

// isDone reports whether nothing is left to send, and the collector knows no stream of the
// run.
func (r *spooledRun) isDone() bool {
	return r.spool.Status().Segments == 0 && r.spool.Known().Log.IsZero()
}

// send sends until the spool is closed and all of it is acknowledged, or until ctx ends.
func (r *spooledRun) send(ctx context.Context) error {
	connected, disconnect := context.WithCancel(context.Background())
	var shipping sync.WaitGroup
	shipping.Go(func() { r.shipper.Run(connected) }) // ends by disconnect
	defer shipping.Wait()
	defer disconnect()
	return r.spool.Run(ctx, r.shipper)
}

// doneSuffix ends the name of a directory that is being removed: nothing in it is needed.
const doneSuffix = ".done"

// remove removes the directory of a run of which all is acknowledged. It gets another name
// first: otherwise another process might lock what is half removed.
func (r *spooledRun) remove() error {
	defer r.lock.Close()
	if err := new(disk.Disk).Rename(r.dir, r.dir+doneSuffix); err != nil {
		return err
	}
	return os.RemoveAll(r.dir + doneSuffix)
}
