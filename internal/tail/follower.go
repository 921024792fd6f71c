package tail

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
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
//   - Each batch begins at place.local. The next batch is read, but not sent, before the
//     answer.
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

	reading   reading
	blocks    blockSizes
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

// sighting is what the last looks saw of a file's names. Under follower.mu.
type sighting struct {
	visible  bool      // some table names it
	now      string    // its name when it was last seen
	hidden   time.Time // since when no table names it
	lost     time.Time // since when it has another name than before; zero: it has not
	modified time.Time // its modification time when it was last seen
	begun    time.Time // the same when its text was first seen: since it was created, or shrank
	empty    time.Time // when it was last seen without text
	begins   head      // how it began when it was last seen, and nothing was sent
	size     int64     // its size when it was last seen
	shrinks  int       // how often it was seen to have lost its text ...
	placed   int       // ... when the place in it was last agreed on
	former   lostText
}

// attempts is what a follower remembers of attempts that failed.
type attempts struct {
	progressed    bool      // something was acknowledged since the last failure
	disagreements int       // answers that the stream is elsewhere, since something was acknowledged
	away          time.Time // since when the file is closed and cannot be found; zero: it is there
}

// checks is the state of checks that are not repeated for each batch.
type checks struct {
	welcome  int64        // number of the last welcome for which checkOwn passed
	encoding bool         // the encoding is known
	opened   head         // how the file began when it was found, or its stream was opened
	saved    head         // how the file began, by the saved position that its stream goes on from
	unfit    bool         // lines that are not of the format were reported
	alike    bool         // it was reported that the file is sent though it may be a copy
	shrinks  int          // sighting.shrinks before the file was compared with what was sent of it
	echoes   atomic.Int64 // suspicions of an echo that proved wrong
}

// What follow does next.
var (
	errDone      = errors.New("gone and drained")
	errTruncated = errors.New("truncated")
)

// follow is the life of a follower.
func (f *follower) follow(ctx context.Context) {
	if !f.isArchive() && !f.isChained() {
		f.claim() // at once: it may wait for long, and be renamed while no process runs
	}
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
	case errors.Is(err, errDone):
		f.end(ctx)
		return true
	case errors.Is(err, errReloaded): // the next attempt adopts the table
	case isUnfit(err):
		return true // the next look reports it
	case errors.Is(err, errVanished) && f.vanished():
		return true
	case errors.Is(err, errTruncated): // resume sees it
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

// see is called at each look with whether some table names the file, and as what. shrank is as in
// noteShrink.
func (f *follower) see(c candidate, visible bool) (copied reused, shrank bool) {
	f.mu.Lock()
	if f.visible && !visible {
		f.hidden = time.Now()
	}
	renamed, changed := false, false
	if f.visible = visible; visible {
		copied, shrank = f.textLocked(&c)
		if renamed = f.now != c.path && !f.isChained(); renamed {
			f.lost = time.Now() // another file may have its old name now
		}
		f.now = c.path
		f.file.f.seen(c.path)
		changed = !f.modified.Equal(c.info.ModTime()) // also when it is as long as before
		f.modified = c.info.ModTime()
	}
	if changed && f.place.local.Offset == 0 {
		f.file.begins.Store(nil) // it may begin otherwise, which no place shows
	}
	f.noteRotatedLocked()
	f.mu.Unlock()
	if renamed || changed || !visible || c.info.Size() != f.reading.eof.Load() {
		f.notify()
	}
	return copied, shrank
}

// mostSkew is by how much the clock of a file system may differ from this machine's.
const mostSkew = 2 * time.Second

// textLocked notes how large the file is, and how its text begins. Its text began after the last look
// that saw none. The results are those of shrinkLocked.
func (f *follower) textLocked(c *candidate) (copied reused, unplaced bool) {
	if c.info.Size() < f.size || c.begins != nil && !f.begins.begins(c.begins) {
		copied, unplaced = f.shrinkLocked(c.info)
	}
	if c.begins != nil {
		f.begins = headOf(c.begins)
	}
	if f.size = c.info.Size(); f.size == 0 {
		f.empty = time.Now()
		return copied, unplaced
	}
	f.begun, f.empty = later(f.begun, f.empty.Add(-mostSkew)), time.Time{}
	return copied, unplaced
}

// shrinkLocked notes that the file lost its text. The stream's place shows which file is a copy of
// that, unless it is no place in that text: nothing of it was acknowledged, or the text before it was
// lost just now, too. Then what was lost may be in a copy that only its name and its time show.
func (f *follower) shrinkLocked(fi fs.FileInfo) (copied reused, unplaced bool) {
	copied, unplaced = reused{f.now, f.begun}, f.place.local.Offset == 0 || f.shrinks != f.placed
	f.begun, f.size = fi.ModTime(), fi.Size()
	f.shrinks++
	return copied, unplaced
}

// countShrinks returns how often the file was seen to have lost its text.
func (f *follower) countShrinks() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.shrinks
}

// noteShrink notes that the file does not hold what was sent of it, unless a look saw that.
func (f *follower) noteShrink() {
	fi, err := f.file.f.statRaw()
	if err != nil {
		return
	}
	var copied reused
	unplaced := false
	f.mu.Lock()
	if f.shrinks == f.placed || fi.Size() < f.size {
		copied, unplaced = f.shrinkLocked(fi)
	}
	f.mu.Unlock()
	if unplaced {
		f.t.mu.Lock()
		f.t.noteReusedLocked(copied.path, copied.since)
		f.t.mu.Unlock()
	}
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
	if !known {
		f.t.counts.vanished.Add(1) // else it is counted as missing
	}
	f.t.strayed.Store(known)
	return true
}

// end ends the stream: all of the file is acknowledged, and it is gone.
func (f *follower) end(ctx context.Context) {
	local := &f.place.local
	err := f.t.Out.Append(ctx, wire.Batch{Op: wire.OpEnd, Stream: f.place.stream, Epoch: local.epoch,
		Offset: local.Offset, End: local.Offset, Before: local.Tail, After: local.Tail})
	if err != nil && !f.t.Lossy {
		return // the saved position stays, and the next start tries again
	}
	f.t.forget(f.place.stream)
	f.t.Log.Info("file is gone and all its lines are acknowledged", "path", f.path, "bytes", local.Offset)
}
