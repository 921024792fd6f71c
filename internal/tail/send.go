package tail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"fanin/internal/lines"
	"fanin/internal/wire"
)

// reading is how far a follower has read its file.
type reading struct {
	final   bool          // the file will not grow: its last line is complete
	grown   time.Time     // when it grew last, or something of it was acknowledged
	eof     atomic.Int64  // its size at the last read
	full    bool          // the file had more than fitted into the block at the last read
	wait    time.Duration // read again when it has not grown for so long; 0: when it grows
	changed time.Time     // when it grew last, after it was first read
	held    int64         // a place behind which there are bytes ...
	since   time.Time     // ... since then; zero: there are none
}

// waited returns for how long there have been bytes behind a place.
func (r *reading) waited(at int64) time.Duration {
	if at != r.held || r.since.IsZero() {
		r.held, r.since = at, time.Time{}
		if r.eof.Load() > at {
			r.since = time.Now()
		}
		return 0
	}
	return time.Since(r.since)
}

// noteGrowth notes that the file grew, or was read for the first time.
func (r *reading) noteGrowth(again bool) {
	r.grown = time.Now()
	if again {
		r.changed = r.grown
	}
}

// quiet returns for how long the file has not grown.
func (r *reading) quiet() time.Duration { return time.Since(r.grown) }

// due fires when to read the file again though it did not grow; nil: never.
func (r *reading) due() <-chan time.Time {
	if r.wait == 0 {
		return nil
	}
	return time.After(r.wait - r.quiet())
}

// send sends all lines, and those that come, until something prevents it. What sending needs is
// gone while it waits for more lines: most files are idle most of the time, and there may be
// thousands.
func (f *follower) send(ctx context.Context) error {
	for {
		if err := f.sendAll(ctx); err != nil {
			return err
		}
		if err := f.idle(ctx); err != nil {
			return err
		}
		if err := f.file.f.hold(ctx, f.isHidden()); err != nil {
			return err
		}
	}
}

// sendAll sends batch after batch until there are no more lines. While some are on their way, the
// next is read. It returns when none is on its way.
func (f *follower) sendAll(ctx context.Context) error {
	next, err := f.read(ctx, f.place.local.cursor, true)
	if err == nil && !next.isEmpty() && len(f.earlier) > 0 {
		f.t.pool.put(next.block)
		if err := f.awaitEarlier(ctx); err != nil {
			return err
		}
		next, err = f.read(ctx, f.place.local.cursor, true)
	}
	for err == nil && !next.isEmpty() {
		if err = f.checkFit(next.text); err != nil {
			break
		}
		if f.echo.round > 0 {
			if err = f.landAll(ctx); err != nil {
				break
			}
			f.holdEcho(ctx)
		}
		f.launch(ctx, &next)
		if next, err = f.readAhead(ctx); err == nil && next.block == nil && len(f.flights) == 0 && !f.isRead() {
			next, err = f.read(ctx, f.place.local.cursor, true)
		}
	}
	f.t.pool.put(next.block)
	return cmp.Or(f.landAll(ctx), err)
}

// isRead reports whether all that was found in the file is acknowledged: only idle finds out whether there is more.
func (f *follower) isRead() bool { return f.reading.eof.Load() == f.place.local.Offset }

// read reads a batch at c. Without waiting it may return nothing for want of memory.
func (f *follower) read(ctx context.Context, c cursor, wait bool) (read, error) {
	f.holes.waits, f.holes.again = false, time.Time{}
	if to, sent := f.sentEnd(); sent && c.Offset == f.place.local.Offset {
		return f.skipEnd(to)
	}
	f.carry()
	if err := f.awaitOwnedEnd(ctx); err != nil {
		return read{}, err
	}
	size, most := f.blocks.size(f.largest()), f.blocks.size(f.largest())
	if !f.reading.full {
		size = min(smallBlock, size) // most files have few new lines at a time
	}
	if f.carried.raw != nil {
		size, most = f.largest(), f.largest()
	}
	for {
		block, err := f.block(ctx, size*f.scale(), wait)
		if block == nil {
			return read{}, err
		}
		r, err := f.readInto(ctx, block, c)
		if err == nil && r.apart { // what was carried has its own end, or is too long
			f.t.pool.put(block)
			f.refuseCarried()
			if err := f.awaitOwnedEnd(ctx); err != nil {
				return read{}, err
			}
			continue
		}
		f.reading.full = r.full
		switch {
		case err != nil, size >= f.largest():
			return r, err
		case r.short:
			size = f.largest()
		case r.full && size < most:
			size = most
		default:
			return r, nil
		}
		f.t.pool.put(block)
	}
}

// block gets a block; without waiting it may get none.
func (f *follower) block(ctx context.Context, size int, wait bool) ([]byte, error) {
	if block := f.t.pool.try(size); block != nil || !wait {
		return block, nil
	}
	f.setWaits("waits for memory, which batches of other files use (agent.memory)")
	return f.t.pool.get(ctx, size)
}

// readInto reads a batch at c into a block.
func (f *follower) readInto(ctx context.Context, block []byte, c cursor) (read, error) {
	w, err := f.file.fill(c, block, f.carriedTo(c), f.reading.final)
	if err != nil {
		return read{block: block}, err
	}
	f.noteSize(w.end)
	limits := f.limits(c)
	r, err := f.file.decode(c, &w, limits, f.reading.final, -1)
	if err != nil || r.apart {
		return r, err
	}
	if f.reading.wait = r.wait; r.wait <= limits.quiet {
		f.reading.wait = 0 // what it waited for did not come
	}
	if r.text != nil {
		f.stir()
	}
	if c.Offset == 0 && (r.text != nil || r.hole >= 0) {
		if err := f.file.checkFit(f.path); err != nil {
			return r, err
		}
		if !f.beginsAsOpened() {
			f.t.pool.put(block)
			return read{}, errTruncated
		}
	}
	if r.text == nil && r.hole >= 0 {
		return f.passHole(ctx, r)
	}
	return r, nil
}

// noteSize notes the file's size at a read.
func (f *follower) noteSize(size int64) {
	if was := f.reading.eof.Swap(size); was != size {
		f.reading.noteGrowth(was > 0)
	}
	f.mu.Lock()
	f.report.lag.saw(size, f.place.local.Offset, time.Now())
	f.mu.Unlock()
	f.holes.grew(size, f.t.holeAge())
}

// beginsAsOpened reports whether the file begins as the collector was told when the stream was
// opened. A file of which nothing was sent may be truncated and written anew: no place in it
// shows that, and an agent that lost its saved positions could not recognize the file later. What was read begins
// like this: it may be truncated before it is acknowledged.
func (f *follower) beginsAsOpened() bool {
	f.file.begins.Store(nil)
	sums := f.file.headSums()
	if !f.checks.opened.begins(sums) {
		return false
	}
	f.setOpened(headOf(sums))
	return true
}

// append sends one batch. It calls next when the next one may follow.
func (f *follower) append(ctx context.Context, r *read, next func()) error {
	if f.table.SyncSource {
		if err := f.file.f.sync(); err != nil {
			return fmt.Errorf("sync %s: %w", f.path, &fileError{err})
		}
	}
	if !f.mayAppend(r) {
		return errGiven
	}
	f.checkEncoding()
	b := wire.Batch{Kind: wire.StreamAgent, Stream: f.place.stream, Epoch: f.place.local.epoch,
		Offset: r.from.Offset, End: r.to.Offset, Before: r.from.Tail, After: r.to.Tail}
	if f.t.Lossy {
		b.Kind = wire.StreamLossy
	}
	b.Next = next
	if r.skip {
		b.Op, b.Reason = wire.OpSkip, r.reason
	} else {
		b.Source, b.FirstLine, b.Time = f.source, r.from.lines, time.Now().UnixMicro()
		b.Text, b.Cuts, b.Marks, b.Joined = r.text, r.cuts, r.marks, r.joined
	}
	return f.t.Out.Append(ctx, b)
}

// mayAppend notes that a batch is sent, unless the stream was given away.
func (f *follower) mayAppend(r *read) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.place.given {
		return false
	}
	f.place.sent = r.to.Point
	f.report.waits = "waits for the collector's answer"
	return true
}

// acknowledge notes that the collector has a batch.
func (f *follower) acknowledge(r *read) {
	f.attempts.progressed, f.attempts.disagreements = true, 0
	f.t.counts.lines.Add(uint64(lines.Count(r.text)))
	f.t.counts.bytes.Add(uint64(r.to.Offset - r.from.Offset))
	if r.split {
		f.t.counts.split.Add(1)
	}
	f.t.counts.divided.Add(uint64(r.divided))
	switch {
	case r.skip && r.reason == wire.SkipContinued:
		f.skippedEnd()
	case r.skip:
		f.passedHole(r)
	}
	f.dropCarried(true)
	if r.unfit > 0 {
		f.passedUnfit(r)
	}
	f.advance(r.to)
}

// blockSizes chooses how much is read at a time.
type blockSizes struct {
	next int // size of the next block; 0: the first size
	most int // of a block, after batches whose outcome is not known; 0: the largest
}

// firstBlock is the size of the first block of a file that has many lines; larger ones
// are used when the other side is far away, small ones for a few lines.
const (
	firstBlock = 256 << 10
	smallBlock = 16 << 10
)

// quick is how soon the answer to a batch comes if larger ones can be risked again.
const quick = 2 * time.Second

func (b *blockSizes) size(largest int) int {
	return min(cmp.Or(b.next, firstBlock), cmp.Or(b.most, largest), largest)
}

// acknowledged chooses larger blocks while full ones are acknowledged slowly, and small
// ones again when there is little to send.
func (b *blockSizes) acknowledged(r *read, took time.Duration, largest int) {
	if r.full && took < quick && b.most > 0 {
		if b.most *= 2; b.most >= largest {
			b.most = 0
		}
	}
	switch {
	case r.full && took > time.Millisecond:
		b.next = largest
	case len(r.text) < firstBlock/2:
		b.next = 0
	}
}

// failed chooses half the size after a batch whose outcome is not known: it may have
// taken too long on a slow line, or the collector may be short of memory.
func (b *blockSizes) failed(size int, err error) {
	var expected *wire.Expected
	if !errors.As(err, &expected) && !errors.Is(err, wire.ErrRefused) {
		b.most = max(size/2, smallBlock)
	}
}

// largest is how much text a block has at most: the longest line fits into it.
func (f *follower) largest() int {
	return min(max(f.t.BatchBytes, f.t.MaxLine)+4<<10, f.t.session.batchText(), int(f.t.Memory)/f.scale())
}

// scale is how many times larger a block is than the text that is read with it.
func (f *follower) scale() int {
	if d := f.file.decoded(f.reading.final); d != nil {
		return d.Scale()
	}
	return 1
}

// maxLine is how long a line may be and not be split: it must fit into a batch.
func (f *follower) maxLine() int { return min(f.t.MaxLine, f.largest()-1<<10) }

// limits are those of a read at c.
func (f *follower) limits(c cursor) limits {
	return limits{line: f.maxLine(), block: f.largest() * f.scale(),
		quiet: f.reading.quiet(), held: f.reading.waited(c.Offset), carried: f.carriedTo(c)}
}

// carriedTo returns what precedes the bytes at c, if they are the first ones of the file.
func (f *follower) carriedTo(c cursor) (by carried) {
	if c.Offset == 0 {
		by = f.carried
	}
	return by
}
