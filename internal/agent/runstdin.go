package agent

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"fanin/internal/daemon"
	"fanin/internal/disk"
	"fanin/internal/wire"
)

// readStdin is the life of a process whose only source is standard input.
func (s *settings) readStdin(ctx context.Context) error {
	// The programs before it in the pipeline end it, by closing the pipe: not a terminal that
	// is closed, nor a reader of its messages that is gone.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGHUP)
	daemon.LimitMemory(64 << 20)
	j, err := s.stdinJob(ctx, s.logger())
	if err != nil {
		return err
	}
	daemon.Notify("READY=1", "STATUS=reading standard input")
	defer daemon.Notify("STOPPING=1")
	return j.run(ctx, pollable(os.Stdin))
}

// stdinJob makes the job of this process. If the disk is full, what earlier runs left may fill it: then that is
// sent first. If it stays full, the input was not read, and the same command may be run again later.
func (s *settings) stdinJob(ctx context.Context, log *slog.Logger) (*stdinJob, error) {
	j, err := newStdinJob(s, log)
	if !disk.IsFull(err) {
		return j, err
	}
	ctx, stop := context.WithTimeout(ctx, s.Agent.Stdin.wait())
	defer stop()
	newAdopter(s, log).pass(ctx)
	if j, err = newStdinJob(s, log); disk.IsFull(err) {
		return nil, daemon.Exitf(daemon.ExitLater, "standard input was not read: %w", err)
	}
	return j, err
}

// logger writes to stderr.
func (s *settings) logger() *slog.Logger { return daemon.Logger(s.level()) }

// spooled is what an agent sends beside its files, each in a session of its own: standard
// input, and what runs left. It implements sender.
type spooled struct {
	stdin  *stdinJob // nil: it is not read
	others *adopter
	log    *slog.Logger
	met    chan struct{} // closed at the agent's first welcome
	meet   sync.Once
}

func newSpooled(s *settings, log *slog.Logger) (x *spooled, err error) {
	x = &spooled{others: newAdopter(s, log), log: log, met: make(chan struct{})}
	if s.Agent.Stdin != nil {
		x.stdin, err = newStdinJob(s, log)
	}
	return x, err
}

// Welcome notes that a collector answers: before, nothing that is left can be sent. The
// sessions have their own welcomes.
func (x *spooled) Welcome(wire.Welcome, int) { x.meet.Do(func() { close(x.met) }) }

// run sends until ctx ends. What standard input leaves is taken up as that of any run.
func (x *spooled) run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() {
		select {
		case <-x.met:
			x.others.run(ctx)
		case <-ctx.Done():
		}
	})
	if x.stdin == nil {
		return
	}
	if err := x.stdin.run(ctx, pollable(os.Stdin)); err != nil {
		x.log.Warn("standard input has ended; lines of it are not acknowledged yet", "err", err)
		return
	}
	x.log.Info("standard input has ended, and all of its lines are acknowledged")
}

// live are the runs that are being sent.
func (x *spooled) live() (all []*spooledRun) {
	if x.stdin != nil {
		all = append(all, x.stdin.own)
	}
	if r := x.others.current(); r != nil {
		all = append(all, r)
	}
	return all
}

func (x *spooled) sources() (all []sourceStatus) {
	for _, r := range x.live() {
		all = append(all, r.status())
	}
	return all
}

func (x *spooled) counts() map[string]uint64 {
	counts := x.others.counts()
	for _, r := range x.live() {
		for name, n := range r.spool.Counts() {
			counts[name] += n
		}
	}
	return counts
}
