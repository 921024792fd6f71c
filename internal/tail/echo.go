package tail

import (
	"bytes"
	"context"
	"fanin/internal/retry"
	"math/rand/v2"
	"time"
)

// echo is the last guard against a loop that no name gives away: a worker's
// output that is followed, a copy of the log elsewhere. Such a file grows only
// with what was sent of it.
//
// That batch after batch holds a line of the one before is a suspicion: it
// costs a short search. It may be an honest file that repeats itself, so the
// suspicion is tried: nothing is sent for several times as long as the file ever
// rested before, at random, and then one batch. A file that rests while nothing is
// sent, and then grows with what was sent, several times in a row, grows with that
// alone. An honest one shows itself by its next line, and was held up no longer.
type echo struct {
	line   []byte // the first line of the batch before
	repeat int    // batches in a row that held such a line
	since  time.Time
	last   time.Time     // when a batch was sent last
	gap    time.Duration // the longest pause between those in a row

	round int       // of the trial; 0: there is none
	again time.Time // no trial before
}

const (
	echoRepeats = 24                     // batches in a row that make a suspicion
	echoWithin  = time.Minute            // and so fast: a slow loop does no harm
	echoSearch  = 16 << 10               // how much of a batch is searched
	echoLine    = 256                    // how much of a line is looked for: its end
	echoLeast   = 4                      // a shorter line proves nothing
	echoRounds  = 4                      // of a trial
	echoRest    = 700 * time.Millisecond // how long the file must rest in each, at least
	echoGaps    = 4                      // and in times of its longest pause; up to twice that, at random
	echoLongest = 40 * time.Second       // no trial is worth a longer rest
	echoAnswer  = 3 * time.Second        // within which it must then grow, at least
	echoPause   = 10 * time.Minute       // until a file that passed is tried again
)

var errEcho = &unfit{"it grows only when its own lines are sent, so each line comes back as another one: what reads the log, or a worker, writes into this file. " +
	"Take it out of paths, then start the agent again"}

// saw looks at a batch that is about to be sent, and reports whether it holds a line
// of the one before.
func (e *echo) saw(text []byte) bool {
	now := time.Now()
	begin := text[:min(len(text), echoSearch)]
	held := len(e.line) >= echoLeast && bytes.Contains(begin, e.line)
	switch {
	case !held:
		e.repeat, e.gap = 0, 0
	case e.repeat == 0:
		e.repeat, e.since = 1, now
	case e.round == 0: // the pauses of a trial are our own
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

// rest is how long the file must rest in this round.
func (e *echo) rest() time.Duration {
	return max(echoRest, echoGaps*e.gap+rand.N(echoGaps*e.gap+1))
}

// passEcho ends a trial: the file is no echo.
func (f *Follower) passEcho() {
	e := &f.echo
	e.round, e.repeat, e.gap, e.again = 0, 0, 0, time.Now().Add(echoPause)
	f.checks.echoes.Add(1)
}

// holdEcho keeps a suspicious file's batch back until the file has rested, or shows
// that it grows by itself.
func (f *Follower) holdEcho(ctx context.Context) {
	if f.echo.round == 0 {
		return
	}
	rest := f.echo.rest()
	begun := time.Now()
	size, rested := f.file.size(), begun
	quiet := false // what was sent before may still come back
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

// awaitEcho sees whether a suspicious file grows when a batch of it was sent.
func (f *Follower) awaitEcho(ctx context.Context, before int64) error {
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

// checkFit sees that what follows is not a file's own echo, before a batch is sent.
func (f *Follower) checkFit(text []byte) error {
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
