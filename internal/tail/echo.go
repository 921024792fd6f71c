package tail

import (
	"bytes"
	"context"
	"fanin/internal/retry"
	"math/rand/v2"
	"time"
)

// echo is the last guard against a loop that no name reveals: a worker's output that is
// followed, or a copy of the log elsewhere. Such a file grows only when its own lines are
// sent.
//
// When batch after batch contains a line of the batch before, the file is suspect; finding
// out costs a short search. It may be a legitimate file that repeats itself, so the
// suspicion is tested: nothing is sent for several times the file's longest pause, a random
// time, and then one batch. A file that does not grow while nothing is sent, and then grows
// when a batch is, several times in a row, grows with that alone. A legitimate file is
// recognized by its next line, and was delayed no longer.
type echo struct {
	line   []byte // the first line of the batch before
	repeat int    // batches in a row that contained such a line
	since  time.Time
	last   time.Time     // when a batch was last sent
	gap    time.Duration // the longest pause between those in a row

	round int       // of the test; 0: there is none
	again time.Time // no test before
}

const (
	echoRepeats = 24                     // batches in a row that make a suspicion
	echoWithin  = time.Minute            // and so fast: a slow loop does no harm
	echoSearch  = 16 << 10               // how much of a batch is searched
	echoLine    = 256                    // how much of a line is looked for: its end
	echoLeast   = 4                      // a shorter line proves nothing
	echoRounds  = 4                      // of a test
	echoRest    = 700 * time.Millisecond // for how long the file must not grow in each, at least
	echoGaps    = 4                      // the same in times of its longest pause; up to twice that, at random
	echoLongest = 40 * time.Second       // a test that takes longer is not worth it
	echoAnswer  = 3 * time.Second        // within which it must then grow, at least
	echoPause   = 10 * time.Minute       // until a file that passed is tested again
)

var errEcho = &unfit{"it grows only when its own lines are sent, so each line is logged again: " +
	"a reader of the log, or a worker, writes into this file. " +
	"Remove it from paths, then restart the agent"}

// saw examines a batch that is about to be sent, and reports whether it contains a line of
// the batch before.
func (e *echo) saw(text []byte) bool {
	now := time.Now()
	begin := text[:min(len(text), echoSearch)]
	held := len(e.line) >= echoLeast && bytes.Contains(begin, e.line)
	switch {
	case !held:
		e.repeat, e.gap = 0, 0
	case e.repeat == 0:
		e.repeat, e.since = 1, now
	case e.round == 0: // the pauses of a test are our own
		e.repeat++
		e.gap = max(e.gap, now.Sub(e.last))
	}
	line, _, _ := bytes.Cut(begin, []byte{'\n'})
	e.line, e.last = append(e.line[:0], line[max(0, len(line)-echoLine):]...), now
	if e.round == 0 && e.repeat >= echoRepeats && now.After(e.again) {
		if now.Sub(e.since) < echoWithin && 2*echoGaps*e.gap < echoLongest {
			e.round = 1
		} else {
			e.gap = 0
		}
		e.repeat, e.since = 1, now
	}
	return held
}

// rest returns for how long the file must not grow in this round.
func (e *echo) rest() time.Duration {
	return max(echoRest, echoGaps*e.gap+rand.N(echoGaps*e.gap+1))
}

// passEcho ends a test: the file is no echo.
func (f *follower) passEcho() {
	e := &f.echo
	e.round, e.repeat, e.gap, e.again = 0, 0, 0, time.Now().Add(echoPause)
	f.checks.echoes.Add(1)
}

// holdEcho holds a batch of a suspect file back until the file has not grown for a while, or
// grows by itself.
func (f *follower) holdEcho(ctx context.Context) {
	if f.echo.round == 0 {
		return
	}
	rest := f.echo.rest()
	begun := time.Now()
	size, rested := f.file.size(), begun
	quiet := false // what was sent before may still be written to it
	for time.Since(rested) < rest {
		if err := retry.Pause(ctx, echoRest/16); err != nil {
			return
		}
		now := f.file.size()
		if quiet = quiet || time.Since(rested) > echoRest/2; now == size {
			continue
		}
		if quiet || time.Since(begun) > 4*echoRest {
			f.passEcho()
			return
		}
		size, rested = now, time.Now()
	}
}

// awaitEcho finds out whether a suspect file grows when a batch of it was sent.
func (f *follower) awaitEcho(ctx context.Context, before int64) error {
	if f.echo.round == 0 {
		return nil
	}
	patience := max(echoAnswer, echoGaps*f.echo.gap)
	for begun := time.Now(); f.file.size() <= before; {
		if time.Since(begun) > patience {
			f.passEcho()
			return nil
		}
		if err := retry.Pause(ctx, echoRest/16); err != nil {
			return err
		}
	}
	if f.echo.round++; f.echo.round <= echoRounds {
		return nil
	}
	f.t.mu.Lock()
	f.t.echoes[f.key] = true
	f.t.mu.Unlock()
	return errEcho
}

func (t *Tailer) checkEcho(key fileKey) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.echoes[key] {
		return errEcho
	}
	return nil
}

// checkFit checks, before a batch is sent, that the file is no file of the log and no echo.
func (f *follower) checkFit(text []byte) error {
	if _, n := f.t.session.last(); n != f.checks.welcome { // another log, perhaps
		f.checks.welcome = n
		if err := f.t.checkOwn(f.file, f.name()); err != nil {
			return err
		}
	}
	if held := f.echo.saw(text); !held && f.echo.round > 0 {
		f.passEcho() // it grew, and with something else
	}
	return nil
}
