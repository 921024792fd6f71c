package tail

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"fanin/internal/retry"
	"fanin/internal/wire"
)

// follower follows one file, whatever it is called, until it is gone and everything
// in it is acknowledged, on one goroutine.
//
//   - mu guards what other goroutines read: table, place, sighting, report, and the second part of
//     succession. Only the follower's goroutine writes place, except for a handover.
//   - A file is sent by one follower, and nothing of it before waitTurn has returned.
//   - The first batch on its way begins at place.local, and the next one where that ends, see
//     flight. While wire.MaxChain are on their way, one more is read.
type follower struct {
	t     *Tailer
	table *Table
	key   fileKey
	file  *file
	wake  chan struct{} // the file may have changed
	location

	mu    sync.Mutex
	place progress
	sighting
	succession
	settlement
	report report

	reading reading
	outgoing
	attempts  attempts
	checks    checks
	carried   carried
	echo      echo
	holes     holes
	unpacking unpacking
}

// location is where a file was found. path and source change under follower.mu.
type location struct {
	path   string // where it was found: a label
	origin string // what a table called it, where none names path
	real   string // where path led, if over symbolic links
	dir    string // where its siblings are
	source string
	names  []string // under which the tailer found it; under the tailer's lock
}

// label returns the name under which a table knew the file.
func (l *location) label() string { return cmp.Or(l.origin, l.path) }

// target returns where the file is, if that is not where its label says: the next start
// searches there, too.
func (l *location) target() string {
	if l.real == "" && filepath.Dir(l.path) != filepath.Dir(l.label()) {
		return l.path
	}
	return l.real
}

// attempts is what a follower remembers of attempts that failed.
type attempts struct {
	progressed    bool      // something was acknowledged since the last failure
	disagreements int       // answers that the stream is elsewhere, since something was acknowledged
	away          time.Time // since when the file is closed and cannot be found; zero: it is there
	strays        bool      // the stream is one of a missing file once it has no follower
}

// checks is the state of checks that are not repeated for each batch.
type checks struct {
	welcome  int64        // number of the last welcome for which checkOwn passed
	encoding bool         // the encoding is known
	opened   head         // how the file began when it was found, opened, or first read since; under mu
	saved    head         // how the file began, by the saved position that its stream goes on from
	unfit    bool         // lines that are not of the format were reported
	alike    bool         // it was reported that the file is sent though it may be a copy
	shrinks  int          // sighting.shrinks before the file was compared with what was sent of it
	shrunk   atomic.Int64 // twice the number of a look, and 1 more if the file had shrunk then
	echoes   atomic.Int64 // suspicions of an echo that proved wrong
}

// What follow does next.
var (
	errDone      = errors.New("gone and drained")
	errTruncated = errors.New("truncated")
)

// follow is the life of a follower.
func (f *follower) follow(ctx context.Context) {
	if !f.waitTurn(ctx) {
		return
	}
	p := &pauses{failed: retry.Backoff{Min: f.t.Poll, Max: longestPause},
		refused: retry.Backoff{Min: f.t.Refused, Max: longestRefused * f.t.Refused}}
	for ctx.Err() == nil {
		f.attempts.progressed = false
		met := f.t.session.nextWelcome()
		f.adopt()
		if f.ends(ctx, f.attempt(ctx), p, met) {
			return
		}
	}
}

// ends does what the outcome of an attempt calls for, and reports whether nothing more is to be
// done; if there is, it has paused before the next attempt.
func (f *follower) ends(ctx context.Context, err error, p *pauses, met <-chan struct{}) bool {
	if f.attempts.progressed {
		p.failed.Reset()
		p.refused.Reset()
	}
	switch {
	case ctx.Err() != nil:
		return true
	case errors.Is(err, errReleased), errors.Is(err, errDone) && f.keepsStream():
		f.t.Log.Info("no table names the file any more; its lines are acknowledged, and it is let go",
			"path", f.path, "offset", f.place.local.Offset)
		return true
	case errors.Is(err, errDone) && f.isAway():
		f.attempts.strays = true
		f.t.Log.Info("the directory of the file is gone; its stream goes on when the file is found", "path", f.path,
			"offset", f.place.local.Offset)
		return true
	case errors.Is(err, errDone):
		f.t.noteLetGo(f)
		f.end(ctx)
		return true
	case errors.Is(err, errReloaded): // the next attempt adopts the table
	case isUnfit(err):
		return true // the next look reports it
	case errors.Is(err, errVanished) && f.vanished():
		return true
	case errors.Is(err, errTruncated), errors.Is(err, errGiven): // resume sees it
	case errors.Is(err, wire.ErrRefused):
		f.pauseRefused(ctx, err, p.refused.Next(), met)
	default:
		f.pauseFailed(ctx, err, &p.failed)
	}
	return false
}

// pauses are those before the next attempt.
type pauses struct{ failed, refused retry.Backoff }

const (
	// longestPause bounds the pause after attempts that failed.
	longestPause = 5 * time.Second

	// longestRefused bounds the pause after refusals, in times of the first one. It
	// never becomes infinite: a limit that refused the file may end without a new
	// connection, when other streams do, and its lines would then wait until rotation
	// deletes them. A new connection, perhaps to a collector with other limits, is
	// reason to try at once.
	longestRefused = 64
)

// attempt opens the file, resumes its stream, and sends until something fails.
func (f *follower) attempt(ctx context.Context) error {
	f.setWaits("waits for a file descriptor: more files are followed than may be open")
	if err := f.file.f.hold(ctx, f.isHidden()); err != nil {
		return err
	}
	f.setWaits("waits until the collector answers where it resumes")
	f.attempts.away = time.Time{}
	defer f.closeArchive()
	if err := f.openArchive(ctx); err != nil {
		return err
	}
	if err := f.resume(ctx); err != nil {
		return err
	}
	return f.send(ctx)
}

// pauseFailed pauses after an attempt that failed.
func (f *follower) pauseFailed(ctx context.Context, err error, failed *retry.Backoff) {
	var pause time.Duration
	if elsewhere := new(wire.Expected); errors.As(err, &elsewhere) {
		f.place.expected = elsewhere
		pause = min(f.t.Poll/16<<f.attempts.disagreements, longestPause) // soon, but not for ever at this pace
		f.attempts.disagreements = min(f.attempts.disagreements+1, 16)
	} else {
		pause = failed.Next()
	}
	f.t.Log.Debug("retrying", "path", f.path, "err", err, "wait", pause)
	f.setTrouble(err.Error())
	if errors.As(err, new(*fileError)) {
		f.setStuck()
		f.file.f.release(false) // others must not wait for what fails; while the way out fails, it keeps what it has
	}
	retry.Pause(ctx, pause)
}

// pauseRefused reports that the collector refuses lines of the file, and pauses; a new
// connection ends the pause.
func (f *follower) pauseRefused(ctx context.Context, err error, pause time.Duration, met <-chan struct{}) {
	f.t.counts.refused.Add(1)
	f.reportRefusal(err, pause)
	f.setStuck()
	f.file.f.release(false)
	select {
	case <-ctx.Done():
	case <-met:
	case <-time.After(pause):
	}
}

// isHidden reports whether no table names the file now.
func (f *follower) isHidden() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.visible
}

// name returns the file's name when it was last seen.
func (f *follower) name() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// notify wakes the follower if it is idle.
func (f *follower) notify() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// vanished ends a follower whose file was deleted, or moved away, while it was closed;
// false: it has not been away for long. A directory that others rename in may not list
// it for a moment. Its stream then is one of a missing file.
func (f *follower) vanished() bool {
	if f.attempts.away.IsZero() {
		f.attempts.away = time.Now()
	}
	if time.Since(f.attempts.away) < f.t.Grace {
		return false
	}
	f.t.Log.Error("file vanished while it was closed for want of descriptors; "+
		"lines written to it behind this offset are lost unless it is found",
		"path", f.path, "offset", f.place.local.Offset)
	f.mu.Lock()
	known := !f.place.stream.IsZero() && f.t.positions.get(f.place.stream) != nil
	f.mu.Unlock()
	if f.attempts.strays = known; !known {
		f.t.counts.vanished.Add(1) // else it is counted as missing
	}
	return true
}

// isAway reports whether the file exists, and the directory in which a table named it does not: it was moved, or
// its file system is not mounted. Then the stream is one of a missing file.
func (f *follower) isAway() bool {
	f.mu.Lock()
	label := f.label()
	f.mu.Unlock()
	_, err := os.Stat(filepath.Dir(label))
	return errors.Is(err, fs.ErrNotExist) && !f.file.deleted()
}

// end ends the stream: all of the file is acknowledged, and it is gone.
func (f *follower) end(ctx context.Context) {
	if !f.keep() {
		return
	}
	local := &f.place.local
	err := f.t.Out.Append(ctx, wire.Batch{Op: wire.OpEnd, Stream: f.place.stream, Epoch: local.epoch,
		Offset: local.Offset, End: local.Offset, Before: local.Tail, After: local.Tail})
	if err != nil && !f.t.Lossy {
		return // the saved position stays, and the next start tries again
	}
	f.t.forget(f.place.stream)
	f.t.Log.Info("file is gone and all its lines are acknowledged", "path", f.path, "bytes", local.Offset)
}
