package tail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"fanin/internal/lines"
	"fanin/internal/wire"
)

// Follower follows one file, whatever it is called, until it is gone and
// everything in it is kept by the other side. One goroutine does all of it.
type Follower struct {
	t        *Tailer
	table    *Table
	path     string // where it was found: a label
	origin   string // what a table called it, where none names path
	real     string // where that led, if over symbolic links
	dir      string // where its siblings are
	key      fileKey
	source   string
	file     *file
	wake     chan struct{}
	before   *Follower // had the same name: its lines come first
	modified time.Time // when it was found
	names    []string  // under which the tailer found it; under the tailer's lock

	begins  atomic.Pointer[beginning] // as it was read last
	drained chan struct{}             // closed when everything up to a rotation is acked
	drainIt sync.Once
	eof     atomic.Int64 // size at the last look that found no more lines

	mu         sync.Mutex // for what the tailer and others look at
	visible    bool       // some table names it
	now        string     // the name that it had when it was seen last
	hidden     time.Time  // since when not
	stream     wire.StreamID
	acked      wire.Point
	agreed     bool       // acked is what both sides hold it for, not what a mark says
	sent       wire.Point // end of the last batch given away, whatever became of it
	trouble    string
	warning    string    // of what is in the file
	holed      int64     // bytes of holes that were passed over
	refusal    string    // the reason that was reported last
	tail       []byte    // the bytes before acked
	superseded bool      // the file that took this one's place has its last line too
	ousted     *Follower // had the name that this file was given while it was watched
	turning    bool      // it may be a copy in the making: nothing was sent of it
	given      *belief   // a stream handed over by a truncated file's follower

	// The goroutine's own.
	belief        belief
	answer        *wire.Expected // what the collector said last, when it stands elsewhere
	pos           cursor         // acked up to here, as pos says
	last          bool           // the file will not grow: its last line is complete
	grown         time.Time      // when it grew last
	size          int            // of the next block
	most          int            // of a block, after batches that did not get through; 0: largest
	further       bool           // something was kept since the last mishap
	moves         int            // how often the collector stood elsewhere, since something was kept
	away          time.Time      // since when it is closed and cannot be found; zero: it is there
	encodingKnown bool
	checked       int64 // the welcome by which it is no file of the log
	echo          echo
	tried         atomic.Int64 // suspicions of an echo that proved wrong
	holes         holes        // what is known of the hole at pos
	original      *Follower    // that this file looks like a copy of
}

// What follow does next.
var (
	errDone      = errors.New("gone and drained")
	errTruncated = errors.New("truncated")
)

// follow is the life of a follower.
func (f *Follower) follow(ctx context.Context) {
	if !f.turn(ctx) {
		return
	}
	wait, refused := f.t.Poll, f.t.Refused
	for ctx.Err() == nil {
		f.further = false
		met := f.t.nextWelcome()
		err := f.file.f.hold(ctx, f.isHidden())
		if err == nil {
			f.away = time.Time{}
			err = f.resume(ctx)
		}
		if err == nil {
			err = f.send(ctx)
		}
		if f.further {
			wait, refused = f.t.Poll, f.t.Refused
		}
		var moved *wire.Expected
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errDone):
			f.end(ctx)
			return
		case isUnfit(err):
			return // the next look says so
		case errors.Is(err, errVanished) && f.vanished():
			return
		case errors.Is(err, errTruncated):
			continue // resume sees it
		case errors.As(err, &moved):
			f.answer = moved
			wait = min(wait, f.t.Poll/16<<f.moves) // soon, but not for ever at this pace
			f.moves = min(f.moves+1, 16)
		case errors.Is(err, wire.ErrRefused):
			f.t.counts.refused.Add(1)
			f.reportRefusal(err, refused)
			f.file.f.release(false)
			f.sleepUntil(ctx, refused, met)
			refused = min(2*refused, longestRefused*f.t.Refused)
			continue
		}
		f.t.Log.Debug("trying again", "path", f.path, "err", err, "wait", wait)
		f.setTrouble(err.Error())
		if errors.As(err, new(*fileError)) {
			f.file.f.release(false) // others must not wait for what fails; while the way out fails, it keeps what it has
		}
		f.sleep(ctx, wait)
		wait = min(2*wait, 5*time.Second)
	}
}

// longestRefused bounds the pause after refusals, in times of the first one. It
// never becomes infinite: a limit that refused the file may end without a new
// connection, when other streams do, and its lines would then wait until rotation
// deletes them. A new connection, perhaps to a collector with other limits, is
// reason to try at once.
const longestRefused = 64

// reportRefusal says why nothing of the file is taken: once for each reason, for
// each try may say the same for days.
func (f *Follower) reportRefusal(err error, wait time.Duration) {
	text := "refused, next try in " + wait.String() + ": " + err.Error()
	f.mu.Lock()
	news := f.refusal != err.Error()
	f.refusal, f.trouble = err.Error(), text
	f.mu.Unlock()
	if news {
		f.t.Log.Error("the collector refuses lines of this file; they stay in it, and are tried again less and less often", "path", f.path, "offset", f.pos.Offset, "err", err)
	}
}

func (f *Follower) sleep(ctx context.Context, d time.Duration) { f.sleepUntil(ctx, d, nil) }

// sleepUntil pauses for d, or until early is closed.
func (f *Follower) sleepUntil(ctx context.Context, d time.Duration, early <-chan struct{}) {
	select {
	case <-ctx.Done():
	case <-early:
	case <-time.After(d):
	}
}

// turn waits until it is this file's turn: the file that had its name is
// drained, and it is no copy in the making.
func (f *Follower) turn(ctx context.Context) bool {
	before := f.before
	f.before = nil
	livesOn := before != nil && before.livesOn() // at once: it may be packed, or let go, meanwhile
	if !before.awaitDrained(ctx) || !f.settle(ctx) {
		return false
	}
	if ousted := f.tookPlace(); ousted != nil {
		before, livesOn = ousted, ousted.livesOn()
	}
	if !before.awaitDrained(ctx) {
		return false
	}
	if before != nil && !f.wasGiven() {
		f.replace(ctx, before, livesOn)
	}
	f.mu.Lock()
	f.turning = false
	f.mu.Unlock()
	return true
}

// awaitDrained waits until all of the file is sent; of no file, all is.
func (f *Follower) awaitDrained(ctx context.Context) bool {
	if f == nil {
		return true
	}
	select {
	case <-f.drained:
		return true
	case <-ctx.Done():
		return false
	}
}

// settle waits for as long as the file may be a copy in the making. While it is
// empty this cannot be told, and there is nothing to send either: one that no table
// names may be a copy that has only just been created, too.
func (f *Follower) settle(ctx context.Context) bool {
	var end time.Time // none while it is empty
	var grown int64
	for f.isTurning() {
		look := time.After(f.t.Poll)
		size := f.file.size()
		unnamed := size == 0 && f.isHidden()
		if size != grown || unnamed && end.IsZero() {
			grown, end = size, time.Now().Add(f.t.Settle) // to copy much takes long
		}
		switch late := !end.IsZero() && time.Now().After(end); {
		case unnamed && late:
			return true
		case unnamed:
			f.drain() // the file that has its name now need not wait
		case size == 0:
			look = nil // the look that sees it grow wakes this
		case late && !f.t.provenCopy(f) || !late && !f.t.looksLikeCopy(f) || f.tookPlace() != nil:
			return true
		}
		select {
		case <-f.wake: // perhaps by the follower that handed its stream over
		case <-look:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// name is what the file was called when it was seen last.
func (f *Follower) name() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *Follower) isHidden() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.visible
}

// wasGiven reports whether another file's follower handed its stream over.
func (f *Follower) wasGiven() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.given != nil
}

// isTurning reports whether the file may still be a copy in the making.
func (f *Follower) isTurning() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.turning && f.given == nil
}

// send gives batch after batch until something keeps it from that. While one is
// on its way, the next is read.
func (f *Follower) send(ctx context.Context) error {
	next, err := f.read(ctx, f.pos, true)
	for err == nil {
		if next.text == nil && !next.skip {
			f.t.pool.put(next.block)
			next = read{} // a block is given back once
			if err = f.idle(ctx); err == nil {
				err = f.file.f.hold(ctx, f.isHidden())
			}
			if err == nil {
				next, err = f.read(ctx, f.pos, true)
			}
			continue
		}
		if err = f.fit(next.text); err != nil {
			break
		}
		f.holdEcho(ctx)
		size := f.file.size()
		done := make(chan error, 1)
		go func() { done <- f.append(ctx, &next) }() // ends with the outcome, which is waited for
		begun := time.Now()
		ahead, rerr := f.read(ctx, next.to, false)
		if err = <-done; err == nil {
			f.keep(&next)
			err = f.awaitEcho(ctx, size)
		}
		sent := len(next.block)
		f.t.pool.put(next.block)
		if err != nil {
			f.t.pool.put(ahead.block)
			f.t.marks.put(f.mark()) // it says what may be kept
			f.halve(sent, err)
			return err
		}
		f.resize(&next, time.Since(begun))
		if f.file.f.hadItsTurn(4*f.t.Poll) && !f.isHidden() {
			f.t.pool.put(ahead.block) // first: those that have descriptors may wait for memory
			f.file.f.release(false)
			err = f.file.f.hold(ctx, false)
			ahead, rerr = read{}, err
		}
		if next, err = ahead, rerr; next.block == nil && err == nil {
			next, err = f.read(ctx, f.pos, true)
		}
	}
	f.t.pool.put(next.block)
	return err
}

// read reads a batch at c. Without waiting it may return nothing for want of memory.
func (f *Follower) read(ctx context.Context, c cursor, wait bool) (read, error) {
	f.holes.waits, f.holes.again = false, time.Time{}
	size := min(cmp.Or(f.size, firstBlock), cmp.Or(f.most, f.largest()), f.largest())
	if f.file.size()-c.Offset < smallBlock/2 {
		size = min(smallBlock, size) // most files have little to say at a time
	}
	for {
		block := f.t.pool.try(size)
		if block == nil && !wait {
			return read{}, nil
		}
		if block == nil {
			var err error
			if block, err = f.t.pool.get(ctx, size); err != nil {
				return read{}, err
			}
		}
		if !f.file.still(c) {
			f.t.pool.put(block)
			return read{}, cmp.Or(f.file.readable(c.Offset), errTruncated)
		}
		end := f.file.size()
		f.eof.Store(end)
		f.holes.grew(end, f.t.holeAge())
		r, err := f.file.readBatch(c, block, f.limits(), f.last, -1)
		if err == nil && (r.text != nil || r.hole >= 0) && c.Offset == 0 {
			if err = f.file.checkFit(f.path); err != nil {
				return r, err
			}
		}
		if err == nil && r.text == nil && r.hole >= 0 {
			return f.passHole(ctx, r)
		}
		if err != nil || !r.short || size >= f.largest() {
			return r, err
		}
		f.t.pool.put(block)
		size = f.largest()
	}
}

// firstBlock is the size of the first block of a file that has much to say;
// larger ones are taken when the other side is far away, small ones for a few lines.
const (
	firstBlock = 256 << 10
	smallBlock = 16 << 10
)

// largest is a block that the longest line fits into.
func (f *Follower) largest() int {
	return min(max(f.t.BatchBytes, f.t.MaxLine)+4<<10, f.t.batchText())
}

// maxLine is how long a line may be and not be split: it must fit into a batch.
func (f *Follower) maxLine() int { return min(f.t.MaxLine, f.t.batchText()-1<<10) }

func (f *Follower) limits() limits { return limits{line: f.maxLine(), block: f.largest()} }

// resize takes larger blocks while full ones take long to be acked, and small
// ones again when there is little to do.
func (f *Follower) resize(r *read, took time.Duration) {
	if r.full && took < quick && f.most > 0 {
		if f.most *= 2; f.most >= f.largest() {
			f.most = 0
		}
	}
	switch {
	case r.full && took > time.Millisecond:
		f.size = f.largest()
	case len(r.text) < firstBlock/2:
		f.size = 0
	}
}

// quick is how soon the answer to a batch comes if larger ones can be risked again.
const quick = 2 * time.Second

// halve sends less at a time after a batch whose outcome is not known: it may
// have taken too long on a slow line, or the collector may be short of memory.
func (f *Follower) halve(size int, err error) {
	var expected *wire.Expected
	if !errors.As(err, &expected) && !errors.Is(err, wire.ErrRefused) {
		f.most = max(size/2, smallBlock)
	}
}

// append gives one batch to the other side.
func (f *Follower) append(ctx context.Context, r *read) error {
	if f.table.SyncSource {
		if err := f.file.f.sync(); err != nil {
			return fmt.Errorf("sync %s: %w", f.path, &fileError{err})
		}
	}
	f.mu.Lock()
	f.sent = r.to.Point
	f.mu.Unlock()
	kind := wire.StreamAgent
	if f.t.Lossy {
		kind = wire.StreamLossy
	}
	f.checkEncoding()
	if r.skip {
		return f.t.Out.Append(ctx, wire.Batch{Op: wire.OpSkip, Kind: kind, Stream: f.stream, Epoch: f.belief.epoch,
			Offset: r.from.Offset, End: r.to.Offset, Before: r.from.Tail, After: r.to.Tail, Reason: "a hole: NULs, no text"})
	}
	return f.t.Out.Append(ctx, wire.Batch{
		Kind: kind, Stream: f.stream, Epoch: f.belief.epoch, Source: f.source,
		Offset: r.from.Offset, End: r.to.Offset, Before: r.from.Tail, After: r.to.Tail,
		FirstLine: r.from.lines, Time: time.Now().UnixMicro(), Cuts: r.cuts, Marks: r.marks, Text: r.text,
	})
}

// keep notes that a batch is kept by the other side.
func (f *Follower) keep(r *read) {
	f.further, f.moves = true, 0
	f.t.counts.lines.Add(uint64(lines.Count(r.text)))
	f.t.counts.bytes.Add(uint64(r.to.Offset - r.from.Offset))
	if r.split {
		f.t.counts.split.Add(1)
	}
	if r.skip {
		f.passedHole(r)
	}
	f.moveTo(r.to)
}

// moveTo sets the acked place.
func (f *Follower) moveTo(c cursor) {
	f.belief.leaveTrail(c.Offset)
	f.pos, f.belief.Point, f.belief.lines = c, c.Point, c.lines
	f.grown = time.Now()
	f.mu.Lock()
	f.acked, f.sent, f.tail, f.trouble, f.agreed = c.Point, c.Point, c.tail, "", true
	f.mu.Unlock()
	f.t.marks.put(f.mark())
}

// idle waits until there may be more lines. What happens to a file without a
// name that a table knows is decided here: it is drained, its last line gets its
// end, and it is let go.
func (f *Follower) idle(ctx context.Context) error {
	for {
		size := f.file.size()
		if size < f.pos.Offset || !f.file.still(f.pos) {
			return cmp.Or(f.file.readable(f.pos.Offset), errTruncated)
		}
		if size != f.eof.Load() {
			f.grown = time.Now()
			return nil
		}
		f.mu.Lock()
		visible, hidden, superseded := f.visible, f.hidden, f.superseded
		f.mu.Unlock()
		if f.table.Whole && size > f.pos.Offset && !f.last {
			f.last = true
			return nil
		}
		if !visible {
			f.drain()
			quiet := min(time.Since(hidden), time.Since(f.grown))
			switch {
			case quiet > f.t.Grace && size > f.pos.Offset && !f.last && !superseded:
				f.last = true
				return nil
			case quiet > f.t.Grace && f.file.deleted(), quiet > f.t.LetGo:
				return errDone
			case size > f.pos.Offset: // it may lose its last name any moment
				if err := f.file.f.hold(ctx, true); err != nil {
					return err
				}
			default:
				f.file.f.release(true)
			}
		} else {
			f.last = f.table.Whole
			f.file.f.release(size == f.pos.Offset)
		}
		select {
		case <-f.wake:
			if f.holes.waits {
				return nil // it may be filled, which changes no size
			}
		case <-f.holes.due():
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// drain lets the file that took this one's name begin.
func (f *Follower) drain() { f.drainIt.Do(func() { close(f.drained) }) }

// see is told at each look whether some table names the file, and as what.
func (f *Follower) see(c candidate, visible bool) {
	f.mu.Lock()
	if f.visible && !visible {
		f.hidden = time.Now()
	}
	if visible {
		f.now = c.path
	}
	if visible {
		f.file.f.seen(c.path)
	}
	renamed := visible && f.path != c.path
	changed := visible && !f.modified.Equal(c.info.ModTime()) // also when it is as long as before
	if f.visible = visible; changed {
		f.modified = c.info.ModTime()
	}
	f.mu.Unlock()
	if renamed {
		f.drain() // another file may have its old name now
	}
	if changed || !visible || c.info.Size() != f.eof.Load() {
		f.poke()
	}
}

// poke wakes the follower if it is idle.
func (f *Follower) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// vanished is the end of a follower whose file was deleted, or moved away, while it
// was closed; false: it has not been away for long. A directory that others rename
// in may not list it for a moment. Its stream then is one of a missing file.
func (f *Follower) vanished() bool {
	if f.away.IsZero() {
		f.away = time.Now()
	}
	if time.Since(f.away) < f.t.Grace {
		return false
	}
	f.t.Log.Error("file vanished while it was closed for want of descriptors; lines that were written to it behind this offset are lost if it is not found", "path", f.path, "offset", f.pos.Offset)
	f.mu.Lock()
	known := !f.stream.IsZero() && f.t.marks.get(f.stream) != nil
	f.mu.Unlock()
	if !known {
		f.t.counts.vanished.Add(1) // else it is counted as missing
	}
	f.t.strayed.Store(known)
	return true
}

// end tells the other side that the stream is complete.
func (f *Follower) end(ctx context.Context) {
	err := f.t.Out.Append(ctx, wire.Batch{Op: wire.OpEnd, Stream: f.stream, Epoch: f.belief.epoch,
		Offset: f.pos.Offset, End: f.pos.Offset, Before: f.pos.Tail, After: f.pos.Tail})
	if err != nil && !f.t.Lossy {
		return // the mark stays, and says so at the next start
	}
	f.t.forget(f.stream)
	f.t.Log.Info("file is gone and all its lines are kept", "path", f.path, "bytes", f.pos.Offset)
}

func (f *Follower) setTrouble(text string) {
	f.mu.Lock()
	f.trouble = text
	f.mu.Unlock()
}

func (f *Follower) status() FileStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return FileStatus{Path: f.path, Stream: f.stream.String(), Source: f.source, Size: f.file.size(), Acked: f.acked.Offset, Agreed: f.agreed, Holes: f.holed, Trouble: f.trouble, Warning: f.warning}
}
