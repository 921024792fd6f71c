package agent

import (
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"fanin/internal/disk"
	"fanin/internal/retry"
)

// adopter sends what runs left that were killed, or that gave up waiting. It takes one run
// after the other, whose process is gone: its lock is free. The oldest is first, so what a
// program wrote in one run after the other keeps its order.
type adopter struct {
	settings *settings
	log      *slog.Logger
	limited  *retry.Log

	mu   sync.Mutex
	now  *spooledRun       // is being sent; nil: none
	done map[string]uint64 // counts of those that are done
}

func newAdopter(s *settings, log *slog.Logger) *adopter {
	return &adopter{settings: s, log: log, limited: retry.NewLog(log), done: make(map[string]uint64)}
}

// adoptEvery is the pause between two searches.
const adoptEvery = time.Minute

// run searches again and again, until ctx ends.
func (a *adopter) run(ctx context.Context) {
	tick := time.NewTicker(adoptEvery)
	defer tick.Stop()
	for {
		a.pass(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// pass sends what there is now. It reports whether nothing is left that this process may
// send.
func (a *adopter) pass(ctx context.Context) (done bool) {
	done = true
	for _, dir := range a.left() {
		err := a.send(ctx, dir)
		switch {
		case ctx.Err() != nil:
			return false
		case err == nil, errors.Is(err, disk.ErrLocked), errors.Is(err, fs.ErrNotExist):
		default:
			done = false
			a.limited.Warn(dir, "cannot send what an earlier run left; trying again later", "dir", dir, "err", err)
		}
	}
	return done
}

// left lists the directories of runs, the oldest first.
func (a *adopter) left() (dirs []string) {
	entries, err := os.ReadDir(a.settings.runsDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.limited.Warn("list", "cannot look for what earlier runs left", "err", err)
	}
	for _, e := range entries { // by name, which begins with the time
		dir := filepath.Join(a.settings.runsDir(), e.Name())
		switch {
		case !isRun(dir, e):
			a.limited.Warn(dir, "what is among the runs and is none is left alone; move it away", "path", dir)
		case strings.HasSuffix(dir, doneSuffix):
			os.RemoveAll(dir) // a process was killed while it did so
		default:
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// isRun reports whether an entry of the directory of runs is one: it has the name of a run, and
// what a run has, or nothing yet.
func isRun(dir string, e fs.DirEntry) bool {
	name, isDone := strings.CutSuffix(e.Name(), doneSuffix)
	if _, err := hex.DecodeString(name); err != nil || len(name) != runNameSize || !e.IsDir() {
		return false
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if e.Name() == lockName || e.Name() == spoolName {
			return true
		}
	}
	return err != nil || len(entries) == 0 || isDone // else its process is done, or it has another owner
}

// send sends what one run left, and removes its directory.
func (a *adopter) send(ctx context.Context, dir string) error {
	r, err := openRun(a.settings, a.log, dir)
	if err != nil {
		return err
	}
	defer r.lock.Close()
	if err := r.spool.Close(ctx); err != nil {
		return err
	}
	if r.isDone() {
		return r.remove()
	}
	if err := r.connect(a.settings, a.log); err != nil {
		return err
	}
	a.log.Info("sending what an earlier run left", "dir", dir, "bytes", r.spool.Status().Behind)
	a.setNow(r)
	defer a.setNow(nil)
	if err := r.send(ctx); err != nil {
		return err
	}
	return r.remove()
}

func (a *adopter) setNow(r *spooledRun) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.now != nil {
		for name, n := range a.now.spool.Counts() {
			a.done[name] += n
		}
	}
	a.now = r
}

// current is the run that is being sent; nil: none.
func (a *adopter) current() *spooledRun {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now
}

// counts are the counts of runs that are done.
func (a *adopter) counts() map[string]uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.done)
}

// acknowledged grows with what the collector has acknowledged.
func (a *adopter) acknowledged() uint64 {
	n := acknowledged(a.counts())
	if r := a.current(); r != nil {
		n += r.acknowledged()
	}
	return n
}
