package tail

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fanin/internal/retry"
	"fanin/internal/tail/container"
	"fanin/internal/wire"
)

// The files of a container that rotation divides are a chain: each continues the one before,
// also in the middle of a line. They are sent one after the other. Where a file ends in an open
// line, the next file's follower reads that end before its own first bytes, and sends the
// whole line as one of its own. Only when that is acknowledged is the end skipped in the first
// stream, so that a kill at any moment loses nothing. If the next stream is beyond its
// beginning then, the end is in the log: a file is not begun before the one before it has been
// read, and has not grown for a while. So an end that the next file cannot have, because it is
// too long, is sent by its own follower first.

// openEnd is the end of a rotated file that the next file's follower may send. Under
// follower.mu.
type openEnd struct {
	state  endState
	from   cursor // where the open line begins, perhaps in an earlier file
	before []byte // what is in earlier files
	at, to int64  // the end of this file
}

// endState is what becomes of the end of a file.
type endState int

const (
	endOwn     endState = iota // it is the file's own
	endOffered                 // the next file's follower may take it
	endTaken                   // that sends it
	endSent                    // it is in the log: this file's follower skips it
	endRefused                 // the next file cannot have it: this file's follower sends it before
	endClosed                  // the next file was begun without it
)

// mostCarried bounds the end that is taken, in bytes.
const mostCarried = 1 << 20

// isChained reports whether the file is one of a chain.
func (f *follower) isChained() bool { return f.table.Container && !f.table.Whole && !f.isArchive() }

// link is a file of a chain.
type link struct {
	order    string
	key      fileKey
	modified time.Time
}

// chainOf returns the files of a directory that had one name while they were written to, the
// oldest first. They may be renamed meanwhile: what two readings agree on was so between them.
func chainOf(dir, live string) (links []link) {
	for range 10 {
		again := readChain(dir, live)
		if slices.EqualFunc(links, again, func(a, b link) bool { return a.key == b.key }) {
			break
		}
		links = again
	}
	return links
}

func readChain(dir, live string) (links []link) {
	entries, _ := os.ReadDir(dir) // on an error there are none
	for _, e := range entries {
		name, order, ok := container.Order(e.Name())
		if !ok || name != live {
			continue
		}
		if fi, err := os.Stat(filepath.Join(dir, e.Name())); err == nil {
			links = append(links, link{order, keyOf(fi), fi.ModTime()})
		}
	}
	slices.SortFunc(links, func(a, b link) int { return strings.Compare(a.order, b.order) })
	return links
}

// chain makes each new file of a container wait for the file before it. It returns those that can
// be followed now: a look that files are renamed under may not have found the one before.
func (t *Tailer) chain(fresh []*follower) (ready []*follower) {
	chains := make(map[string][]link)
	late := make(map[fileKey]int)
	for _, f := range fresh {
		live, _, ok := container.Order(filepath.Base(f.path))
		if !ok || !f.isChained() {
			continue
		}
		path := filepath.Join(f.dir, live)
		if chains[path] == nil {
			chains[path] = chainOf(f.dir, live)
		}
		found := true
		if f.before, found = t.before(f, chains[path], fresh); !found && t.late[f.key] < mostLate {
			late[f.key] = t.late[f.key] + 1
		}
	}
	for range fresh { // what waits for a late one is late
		for _, f := range fresh {
			if f.before != nil && late[f.before.key] > 0 && late[f.key] == 0 {
				late[f.key] = 1
			}
		}
	}
	t.late = late
	return slices.DeleteFunc(fresh, func(f *follower) bool {
		if late[f.key] > 0 {
			f.file.close()
		}
		return late[f.key] > 0
	})
}

// mostLate is for how many looks a file waits until the file before it is found.
const mostLate = 20

// before returns the follower of the file before f's in a chain, nil if there is none; found:
// unless there is a file that is going to have one.
func (t *Tailer) before(f *follower, links []link, fresh []*follower) (before *follower, found bool) {
	i := slices.IndexFunc(links, func(l link) bool { return l.key == f.key })
	if i < 0 {
		return nil, false // it is gone, or was renamed again
	}
	if i == 0 {
		return nil, true
	}
	last := links[i-1]
	if j := slices.IndexFunc(fresh, func(g *follower) bool { return g.key == last.key }); j >= 0 {
		return fresh[j], true
	}
	t.mu.Lock()
	before = t.followers[last.key]
	t.mu.Unlock()
	_, refused := t.unfit[last.key]
	old := f.table.IgnoreOlder > 0 && time.Since(last.modified) > f.table.IgnoreOlder
	return before, before != nil || refused || old
}

// noteRotatedLocked notes, at each look, since when the file is no longer the one that is written
// to.
func (f *follower) noteRotatedLocked() {
	switch rotated := !f.visible || container.Rotated(filepath.Base(f.now)); {
	case !rotated:
		f.rotated = time.Time{}
	case f.rotated.IsZero():
		f.rotated = time.Now()
	}
}

// mayDrain reports whether the file that follows this one in a chain may be begun: this one, which
// has been read, was rotated, and has not grown since for a while. A runtime may still write what it
// had read of a line to the old file when the new one exists.
func (f *follower) mayDrain() bool {
	f.mu.Lock()
	rotated := f.rotated
	f.mu.Unlock()
	age := f.t.holeAge()
	return !rotated.IsZero() && time.Since(rotated) >= age && time.Since(f.reading.changed) >= age
}

// drainChained lets the next file of a chain begin if this one, which is idle, is done, and offers
// it the open line at the end. The file then stays open. It returns what happens to it now.
func (f *follower) drainChained(x idleFile, step idleStep) idleStep {
	if f.mustSendEnd(x) {
		return readFinal
	}
	if step == readFinal || step == letGo || !f.mayDrain() {
		return step
	}
	if x.partial {
		if !f.offerEnd() && !x.final {
			return readFinal
		}
		step = keepOpen
	} else if !f.isDrained() {
		from := f.behindEnd()
		f.mu.Lock()
		f.openEnd.from = from
		f.mu.Unlock()
	}
	f.drain()
	return step
}

// endIsAway reports whether the next file's follower has the end of this one.
func (f *follower) endIsAway() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.openEnd.state == endTaken || f.openEnd.state == endSent
}

// awaitEnd waits while the next file's follower has the end of this one. It reports whether
// it sent it.
func (f *follower) awaitEnd(ctx context.Context) (sent bool, err error) {
	for {
		f.mu.Lock()
		state := f.openEnd.state
		f.mu.Unlock()
		if state != endTaken {
			return state == endSent, nil
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// mustSendEnd reports whether the next file's follower waits until the end of this one is sent.
func (f *follower) mustSendEnd(x idleFile) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.openEnd.state != endRefused {
		return false
	}
	if x.partial && !x.final {
		return true
	}
	f.openEnd.state, f.openEnd.from = endClosed, f.behindEnd()
	return false
}

// behindEnd returns the place where the next file goes on, perhaps with a line that is open there: also
// if what there is of it was sent as a line, as after a restart.
func (f *follower) behindEnd() cursor {
	if c, err := f.file.cursorAt(f.place.local.Offset, 0); err == nil {
		return c
	}
	return f.place.local.cursor
}

// offerEnd offers the end of the file to the next file's follower; false: it is too long for that.
func (f *follower) offerEnd() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	x := openEnd{state: endOffered, from: f.place.local.cursor, at: f.place.local.Offset, to: f.reading.eof.Load()}
	if x.at == 0 && f.carried.raw != nil {
		x.from, x.before = f.carried.from, f.carried.raw
	}
	size := x.to - x.at + int64(len(x.before))
	if state := f.openEnd.state; state != endOwn && state != endOffered || f.t.Lossy {
		return true // the next file was begun
	}
	if size > mostCarried {
		return false
	}
	f.openEnd = x
	return true
}

// keepEnd makes the end of the file its own again, before it is read; false: the next file's
// follower has it.
func (f *follower) keepEnd() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch f.openEnd.state {
	case endTaken:
		return false
	case endOffered:
		f.openEnd.state = endOwn
	}
	return true
}

// takeEnd takes the end of the file, nil if it has none, for the next file's follower, which
// begins to send now. It returns where that is, or where the file ends.
func (f *follower) takeEnd() (end []byte, from cursor) {
	f.mu.Lock()
	defer f.mu.Unlock()
	x := &f.openEnd
	if x.state != endOffered {
		x.state = endClosed
		if f.place.local.Offset < f.reading.eof.Load() && !f.t.Lossy {
			x.state = endRefused // it is sending it
		}
		if x.from.Offset == f.place.local.Offset {
			return nil, x.from
		}
		return nil, f.place.local.cursor
	}
	end = slices.Grow(slices.Clone(x.before), int(x.to-x.at))[:len(x.before)+int(x.to-x.at)]
	if n, _ := f.file.f.ReadAt(end[len(x.before):], x.at); n < int(x.to-x.at) {
		x.state = endRefused // it is closed, and sent by its own follower
		return nil, cursor{}
	}
	x.state = endTaken
	return end, x.from
}

// returnEnd says what became of the end that was taken: it is in the log, or not.
func (f *follower) returnEnd(sent bool) {
	f.mu.Lock()
	switch x := &f.openEnd; {
	case sent && (x.state == endTaken || x.state == endOffered):
		x.state = endSent
	case x.state != endSent:
		x.state = endClosed
	}
	f.mu.Unlock()
	f.notify()
}

// refuseEnd says that the next file's follower cannot send the end that it took.
func (f *follower) refuseEnd() {
	f.mu.Lock()
	if f.openEnd.state == endTaken {
		f.openEnd.state = endRefused
	}
	f.mu.Unlock()
	f.notify()
}

// owesEnd reports whether the next file's follower has to wait until this one has sent its end.
func (f *follower) owesEnd() bool {
	f.t.mu.Lock()
	alive := f.t.followers[f.key] == f
	f.t.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	return alive && f.openEnd.state == endRefused
}

// sentEnd returns where the end of the file begins and ends that the next file's follower
// has sent; ok says that there is one.
func (f *follower) sentEnd() (to int64, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.openEnd.state != endSent {
		return 0, false
	}
	return f.openEnd.to, true
}

// skipEnd makes a batch that skips the end of the file, which is in the log.
func (f *follower) skipEnd(to int64) (r read, err error) {
	r = read{from: f.place.local.cursor, hole: -1, skip: true, reason: wire.SkipContinued}
	r.to, err = f.file.cursorAt(to, r.from.lines)
	return r, err
}

// skippedEnd notes that the end of the file was skipped.
func (f *follower) skippedEnd() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.openEnd = openEnd{state: endClosed}
}

// carried is the end of the file before, which is sent with the first bytes of this one. Of the
// follower's goroutine.
type carried struct {
	by   *follower // whose file it is; nil: there is none, or this one was begun
	raw  []byte    // nil: there is none, or it was not taken yet
	from cursor    // where it is in that file, or where that file ends
}

// carry takes the end of the file before, when this one has something to send. If the log has
// some of this one, the end is there, too.
func (f *follower) carry() {
	switch by := f.carried.by; {
	case by == nil:
	case f.place.local.Offset > 0:
		f.dropCarried(true)
	case f.carried.raw == nil && f.file.size() > 0:
		f.carried.raw, f.carried.from = by.takeEnd()
	}
}

// awaitOwnedEnd waits while the follower of the file before sends its end itself.
func (f *follower) awaitOwnedEnd(ctx context.Context) error {
	by := f.carried.by
	if by == nil || f.carried.raw != nil || f.file.size() == 0 {
		return nil
	}
	for by.owesEnd() {
		f.setWaits("waits until the end of the file that was rotated before it is sent")
		if err := retry.Pause(ctx, f.t.Poll); err != nil {
			return err
		}
	}
	f.carried.by = nil
	by.mu.Lock()
	defer by.mu.Unlock()
	if by.openEnd.from.Offset > f.carried.from.Offset {
		f.carried.from = by.openEnd.from // it was sent since, perhaps before this follower had to wait
	}
	return nil
}

// refuseCarried leaves what was taken to its own follower, which sends it before this file begins.
func (f *follower) refuseCarried() {
	f.carried.by.refuseEnd()
	f.carried = carried{by: f.carried.by}
}

// dropCarried gives what was taken back: it is in the log, or its own follower sends it.
func (f *follower) dropCarried(sent bool) {
	if by := f.carried.by; by != nil {
		f.carried = carried{}
		by.returnEnd(sent)
	}
}
