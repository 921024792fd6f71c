package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"time"

	"fanin/internal/config"
	"fanin/internal/daemon"
	"fanin/internal/escape"
)

// stdinTable is [agent.stdin].
type stdinTable struct {
	Source string           `toml:"source"`
	Wait   *config.Duration `toml:"wait"`
}

// defaultWait is how long a run waits without progress for what it has read.
const defaultWait = 30 * time.Second

// defaultSource is the source of lines where none is set.
const defaultSource = "stdin"

func (t *stdinTable) source() string { return cmp.Or(t.Source, defaultSource) }

func (t *stdinTable) wait() time.Duration {
	if t.Wait == nil {
		return defaultWait
	}
	return time.Duration(*t.Wait)
}

// stdinJob is what a process does that reads standard input: it spools all lines and sends
// them, and beside them what earlier runs left.
type stdinJob struct {
	settings *settings
	log      *slog.Logger
	own      *spooledRun
	others   *adopter
}

func newStdinJob(s *settings, log *slog.Logger) (*stdinJob, error) {
	own, err := newRun(s, log)
	if err != nil {
		return nil, err
	}
	return &stdinJob{settings: s, log: log, own: own, others: newAdopter(s, log)}, nil
}

// run reads in until its end, and returns nil when all of it is acknowledged, and what
// earlier runs left as well. Otherwise the lines stay in the spool. When ctx ends, which is
// at the first signal, in is given up soon.
func (j *stdinJob) run(ctx context.Context, in io.Reader) error {
	defer j.own.lock.Close()
	end, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(time.Duration(j.settings.Agent.Stop), cancel) })()
	var work sync.WaitGroup
	own, others := make(chan error, 2), make(chan error, 1)
	work.Go(func() { own <- j.own.send(end) })
	idle := make(chan struct{})
	work.Go(func() { others <- j.sendOthers(end, idle) })
	err := j.take(ctx, end, in)
	if j.own.isDone() {
		own <- nil // without a collector
		close(idle)
	}
	if err == nil {
		err = j.await(end, own, others)
	}
	cancel()
	work.Wait()
	if err != nil {
		return err
	}
	if err := j.own.remove(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		j.log.Warn("cannot remove the directory of this run, all of whose lines are acknowledged; the next run tries "+
			"again", "dir", j.own.dir, "err", err)
	}
	return nil
}

// sendOthers sends what earlier runs left, once a collector answers, or this run has nothing to
// send.
func (j *stdinJob) sendOthers(ctx context.Context, idle <-chan struct{}) error {
	select {
	case <-j.own.met:
	case <-idle:
	case <-ctx.Done():
	}
	j.others.pass(ctx)
	return nil
}

// take reads in into the spool. When stop has ended, in is given up when it is silent.
func (j *stdinJob) take(stop, end context.Context, in io.Reader) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(end))
	defer cancel()
	defer context.AfterFunc(end, func() { time.AfterFunc(lastWords, cancel) })() // what was read is still spooled
	// The source is kept with the lines: a later run may have another.
	input := j.own.spool.NewInput(j.settings.Agent.Stdin.source())
	err := readInput(ctx, input, in, stop, end)
	if cerr := j.own.spool.Close(ctx); cerr != nil {
		return fmt.Errorf("lines of standard input are lost: they were read and could not be spooled: %w",
			errors.Join(err, cerr))
	}
	if err != nil {
		return fmt.Errorf("standard input cannot be read after byte %d; the lines before are kept in %s, and the next "+
			"run sends them: %w", input.Bytes(), j.own.dir, err)
	}
	return nil
}

// await waits for both outcomes, for as long as there is progress. nil: all is acknowledged.
func (j *stdinJob) await(end context.Context, own, others <-chan error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	wait := j.settings.Agent.Stdin.wait()
	last, acked := time.Now(), uint64(0)
	for own != nil || others != nil {
		select {
		case err := <-own:
			if end.Err() != nil && err != nil {
				return j.later("it was stopped")
			}
			if err != nil {
				return err
			}
			own = nil
		case <-others:
			others = nil
		case <-end.Done():
			return j.later("it was stopped")
		case <-tick.C:
			if n := j.own.acknowledged() + j.others.acknowledged(); n != acked {
				last, acked = time.Now(), n
			}
			if time.Since(last) >= wait {
				return j.later(fmt.Sprintf("nothing more for %v", wait))
			}
		}
	}
	return nil
}

// later is the outcome of a run that leaves lines to the next one.
func (j *stdinJob) later(why string) error {
	var text strings.Builder
	escape.Fprintf(&text, "not everything was acknowledged (%s)", why)
	status := j.own.spool.Status()
	if trouble := cmp.Or(j.own.shipper.Trouble(), status.Trouble); trouble != "" {
		escape.Fprintf(&text, ": %s", trouble)
	}
	if status.Behind > 0 {
		escape.Fprintf(&text, "\n%d bytes of standard input wait in %s: the next run sends them", status.Behind,
			j.own.dir)
	}
	if left := len(j.others.left()); left > 1 {
		escape.Fprintf(&text, "\ndirectories of other runs beside it: %d", left-1)
	}
	return daemon.Exitf(daemon.ExitLater, "%s", text.String())
}
