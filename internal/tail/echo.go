package tail

import (
	"bytes"
	"context"
	"time"
)

// echo is the last guard against a loop that no name gives away: a worker's
// output that is followed, a copy of the log elsewhere. Such a file grows only
// with what was sent of it.
//
// That batch after batch holds a line of the one before is a suspicion: it costs a
// short search. It may be an honest file that repeats itself, so the suspicion is
// tried: nothing is sent for a moment, then one batch. A file that rests while
// nothing is sent, and grows when something is, several times in a row, grows with
// that alone. Any other file was held up by a second or two.
type echo struct {
	line   []byte // the end of the first line of the batch before
	repeat int    // batches in a row that held such a line
	since  time.Time

	round int       // of the trial; 0: there is none
	again time.Time // no trial before
}

const (
	echoRepeats = 24                     // batches in a row that make a suspicion
	echoWithin  = time.Minute            // and so fast: a slow loop does no harm
	echoSearch  = 64 << 10               // how much of a batch is searched
	echoLine    = 48                     // how much of a line is looked for: as much as a search is quick for
	echoLeast   = 4                      // a shorter line proves nothing
	echoRounds  = 4                      // of a trial
	echoRest    = 700 * time.Millisecond // how long the file must rest in each
	echoAnswer  = 3 * time.Second        // and within which it must then grow
	echoPause   = 10 * time.Minute       // until a file that passed is tried again
)

var errEcho = &unfit{"it grows only when its own lines are sent, so each line comes back as another one: what reads the log, or a worker, writes into this file. " +
	"Take it out of paths, then start the agent again"}

// saw looks at a batch that is about to be sent.
func (e *echo) saw(text []byte) {
	now := time.Now()
	if len(e.line) >= echoLeast && bytes.Contains(text[:min(len(text), echoSearch)], e.line) {
		if e.repeat++; e.repeat == 1 {
			e.since = now
		}
	} else {
		e.repeat = 0
	}
	line, _, _ := bytes.Cut(text[:min(len(text), echoSearch)], newline)
	e.line = append(e.line[:0], line[max(0, len(line)-echoLine):]...)
	if e.round == 0 && e.repeat >= echoRepeats && now.After(e.again) {
		if e.repeat = 0; now.Sub(e.since) < echoWithin {
			e.round = 1
		}
	}
}

// passEcho ends a trial: the file is no echo.
func (f *Follower) passEcho() {
	e := &f.echo
	e.round, e.repeat, e.again = 0, 0, time.Now().Add(echoPause)
	f.tried.Add(1)
}

// holdEcho keeps a suspicious file's batch back until the file has rested, or shows
// that it grows by itself.
func (f *Follower) holdEcho(ctx context.Context) {
	if f.echo.round == 0 {
		return
	}
	size, rested := f.file.size(), time.Now()
	for begun := rested; time.Since(rested) < echoRest; {
		if f.sleep(ctx, echoRest/16); ctx.Err() != nil {
			return
		}
		if now := f.file.size(); now != size {
			size, rested = now, time.Now() // of what was sent before, perhaps
		}
		if time.Since(begun) > 4*echoRest {
			f.passEcho()
			return
		}
	}
}

// awaitEcho sees whether a suspicious file grows when a batch of it was sent.
func (f *Follower) awaitEcho(ctx context.Context, before int64) error {
	if f.echo.round == 0 {
		return nil
	}
	for begun := time.Now(); f.file.size() <= before; {
		if time.Since(begun) > echoAnswer {
			f.passEcho()
			return nil
		}
		if f.sleep(ctx, echoRest/16); ctx.Err() != nil {
			return ctx.Err()
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

// fit sees that what follows is not a file's own echo, before a batch is sent.
func (f *Follower) fit(text []byte) error {
	if n := f.t.welcomes.Load(); n != f.checked { // another log, perhaps
		f.checked = n
		if err := f.t.checkOwn(f.file, f.name()); err != nil {
			return err
		}
	}
	f.echo.saw(text)
	return nil
}
