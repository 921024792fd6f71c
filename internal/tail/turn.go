package tail

import (
	"context"
	"sync"
	"time"
)

// succession decides when a new file may be sent, and which part of it: the file that had its
// name before comes first, and a copy of a followed file is not sent at all, unless the
// original was truncated after it was copied.
type succession struct {
	lineage
	number    uint64         // in the order in which files were found
	before    *follower      // had the same name: its lines come first
	alike     *savedPosition // of a file that is gone, whose text this one may have; too little proves it
	original  *follower      // that this file looks like a copy of; the goroutine's own
	drained   chan struct{}
	drainOnce sync.Once

	// Under follower.mu.
	maybeCopy  bool      // it may be a copy in the making: nothing of it was sent
	lostOf     string    // path of a file that lost a text which this one may have; "": none
	ousted     *follower // had the name that this file got while it was followed
	superseded bool      // the file that replaced this one has its last line, too
	successor  *follower // longer version that replaced this one, and has its stream
	openEnd    openEnd   // of a file of a chain
	rotated    time.Time // since when it is known as rotated; zero: it is not
}

// drain lets the file begin that has this one's name now: everything up to the rotation is
// acknowledged.
func (s *succession) drain() { s.drainOnce.Do(func() { close(s.drained) }) }

// isDrained reports whether drain was called.
func (s *succession) isDrained() bool {
	select {
	case <-s.drained:
		return true
	default:
		return false
	}
}

// awaitDrained waits until everything in a file is acknowledged; in no file, all is.
func (f *follower) awaitDrained(ctx context.Context) bool {
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

// awaitBefore waits until everything in the file before is acknowledged, unless that waits for this one.
func (f *follower) awaitBefore(ctx context.Context, before *follower) bool {
	f.waitsFor.Store(before)
	defer f.waitsFor.Store(nil)
	for before != nil && !before.awaits(f) {
		select {
		case <-before.drained:
			return true
		case <-time.After(f.t.Poll):
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// waitTurn waits until the file may be sent: the file that had its name is drained, and
// it is no copy in the making. It returns false when ctx ends first.
func (f *follower) waitTurn(ctx context.Context) bool {
	before := f.before
	f.before = nil
	if f.isChained() {
		f.carried.by = before
		f.setWaits("waits until the file that was rotated before it is sent")
		return before.awaitDrained(ctx) && f.awaitOriginal(ctx) && f.begin()
	}
	if f.isArchive() {
		return true
	}
	livesOn := before != nil && before.livesOn() // at once: it may be packed, or let go, meanwhile
	f.setWaits("waits until the file that had its name before is sent, or until it is clear that it is no copy of it")
	if !f.awaitBefore(ctx, before) || !f.awaitOriginal(ctx) {
		return false
	}
	if next := f.tookPlace(); next != nil {
		before, livesOn = next, next.livesOn()
	} else if next := f.succeeds(); next != nil {
		before, livesOn = next, false
	}
	return f.follows(ctx, before, livesOn) && f.begin()
}

// follows waits until the file before this one is sent, nil if there is none, and goes on where it stopped if this
// is another version of it.
func (f *follower) follows(ctx context.Context, before *follower, livesOn bool) bool {
	if !f.awaitBefore(ctx, before) {
		return false
	}
	for next := before.replacedBy(); next != nil; next = next.replacedBy() {
		// It was not seen under that name, and may keep another one: then it is never drained.
		if before, livesOn = next, next.livesOn(); f.awaitSent(ctx, before) != nil {
			return false
		}
	}
	if before == nil || f.wasHandedOver() {
		return true
	}
	if f.continues(before) && f.awaitSent(ctx, before) != nil { // it may have grown since it was drained
		return false
	}
	f.replace(ctx, before, livesOn)
	return true
}

// begin notes that the file is no copy in the making: it is sent. It returns true.
func (f *follower) begin() bool {
	if f.mayBeCopy() {
		f.reportAgain()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.maybeCopy = false
	return true
}

// copyVerdict is what one look says of a file that may be a copy in the making.
type copyVerdict int

const (
	noCopy       copyVerdict = iota // it is sent
	perhapsCopy                     // it is looked at again after a while
	awaitContent                    // it is empty: the look that sees it grow wakes its follower
)

// awaitOriginal waits for as long as the file may be a copy in the making; it returns false
// when ctx ends first. Copying much takes long, so the time begins anew whenever the file
// grew.
func (f *follower) awaitOriginal(ctx context.Context) bool {
	defer f.waitsFor.Store(nil)
	var end time.Time // none while it is empty and has a name
	var grown int64
	for f.mayBeCopy() {
		if f.isReleased() {
			return false // nothing of it was begun
		}
		look := time.After(f.t.Poll)
		size := f.file.size()
		unnamed := size == 0 && f.isHidden()
		if size != grown || unnamed && end.IsZero() {
			grown, end = size, time.Now().Add(f.t.Settle)
		}
		switch f.judgeCopy(size, unnamed, !end.IsZero() && time.Now().After(end)) {
		case noCopy:
			return true
		case awaitContent:
			look = nil
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

// judgeCopy looks once; late says that the file has not grown for Settle. As long as a file is
// empty, it may still become a copy, and there is nothing to send; one that no
// table names may be a copy that was just created.
func (f *follower) judgeCopy(size int64, unnamed, late bool) copyVerdict {
	switch {
	case unnamed && late:
		return noCopy
	case unnamed:
		f.drain() // the file that has its name now need not wait
		return perhapsCopy
	case size == 0:
		if f.nameless() >= 0 {
			f.drain() // likewise
		}
		return awaitContent
	case f.tookPlace() != nil, f.succeeds() != nil, f.startBehindOriginal(late):
		return noCopy
	case late:
		g := f.t.provenCopy(f)
		f.waitsFor.Store(g) // which does not wait for this one then, as for one that was rotated before it
		if g == nil {
			return noCopy
		}
		return perhapsCopy
	case f.t.looksLikeCopy(f):
		return perhapsCopy
	}
	return noCopy
}

// wasHandedOver reports whether another file's follower handed its stream over.
func (f *follower) wasHandedOver() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.place.handover != nil
}

// mayBeCopy reports whether the file may still be a copy in the making.
func (f *follower) mayBeCopy() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.maybeCopy && f.place.handover == nil
}

// nameless returns for how long another file may have had the name that this one had, -1 if none has.
func (f *follower) nameless() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !f.visible:
		return time.Since(f.hidden)
	case !f.lost.IsZero():
		return time.Since(f.lost)
	}
	return -1
}

// tookPlace returns the file whose name this one got while it was followed, nil if there is
// none: rsync and others write a new version under a name that a table may name, too.
func (f *follower) tookPlace() *follower {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ousted
}

// succeeds returns the file that is gone and that this one is a longer version of, whatever their names: this
// one may have taken the other's before that was seen there. Otherwise nil.
func (f *follower) succeeds() *follower {
	if f.original == nil || !f.original.isDrained() {
		return nil
	}
	var last *follower
	f.t.mu.Lock()
	beside := f.t.beside[f.dir]
	f.t.mu.Unlock()
	for _, g := range beside { // earlier versions may be watched, too
		acked := g.acknowledged()
		if g != f && acked >= leastProof && (last == nil || acked > last.acknowledged()) && f.continues(g) {
			last = g
		}
	}
	switch {
	case last == nil || !last.isDrained():
		return nil
	case last.livesOn():
		f.alike = last.position() // all of this one is sent, and counted: perhaps when the other follower has ended
		return nil
	}
	return last
}

// oust notes that the file got another one's name, unless it was found under that name, or is
// being sent.
func (f *follower) oust(before *follower, path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if path != f.path && f.maybeCopy && f.place.handover == nil {
		f.ousted = before
	}
}
