package tail

import (
	"cmp"
	"context"
	"time"

	"fanin/internal/tail/decode"
)

// idleFile is what decides what happens to a file that has no more lines.
type idleFile struct {
	partial    bool          // it ends in an unfinished line
	visible    bool          // some table names it
	whole      bool          // its table says that it is complete
	final      bool          // its last line was sent as complete
	superseded bool          // the file that replaced it has its last line, too
	deleted    bool          // it has no name left
	quiet      time.Duration // since it grew, or since a table named it
}

// idleStep is what happens to such a file.
type idleStep int

const (
	readFinal idleStep = iota // its last line is complete as it is: read it
	letGo                     // it is done
	keepOpen                  // it may lose its last name at any moment
	mayClose                  // its descriptor may be closed when others need it
)

// idleStep decides what happens to a file that has no more lines now. A file that no table
// names is drained: its last line is ended after Grace, and it is let go once it is deleted,
// or after LetGo.
func (t *Tailer) idleStep(x idleFile) idleStep {
	late := x.quiet > t.Grace
	switch {
	case x.partial && x.whole && !x.final:
		return readFinal
	case x.visible:
		return mayClose
	case x.partial && late && !x.final && !x.superseded:
		return readFinal
	case late && x.deleted, x.quiet > t.LetGo:
		return letGo
	case x.partial:
		return keepOpen
	}
	return mayClose
}

// idle waits until there may be more lines, or the next file's follower has sent the end of this
// one.
func (f *follower) idle(ctx context.Context) error {
	for {
		if sent, err := f.awaitEnd(ctx); sent || err != nil {
			return err
		}
		err := f.idleHere(ctx)
		if ctx.Err() != nil || f.keepEnd() {
			return err
		}
	}
}

// idleHere waits until there may be more lines, or the end of the file is taken.
func (f *follower) idleHere(ctx context.Context) error {
	for {
		f.hear()
		x, nameless := f.idleFile(), f.nameless() // before the size: what it has then is sent before it is drained
		if news, err := f.hasNews(); news || err != nil {
			return err
		}
		f.rest()
		step := f.t.idleStep(x)
		switch {
		case f.isChained():
			step = f.drainChained(x, step)
		case nameless >= 0 && !(x.whole && step == readFinal) && !f.holdsEnd(x, nameless):
			f.drain()
		}
		f.answer(x)
		if more, err := f.idleAs(ctx, x, step); more || err != nil {
			return err
		}
	}
}

// idleAs does what was decided, and waits until the file may have changed.
func (f *follower) idleAs(ctx context.Context, x idleFile, step idleStep) (more bool, err error) {
	switch step {
	case readFinal:
		f.reading.final = true
		return true, nil
	case letGo:
		return false, errDone
	case keepOpen:
		if err := f.file.f.hold(ctx, true); err != nil {
			return false, err
		}
	case mayClose:
		if x.visible {
			f.reading.final = x.whole
		}
		f.file.f.release(!x.partial)
	}
	return f.awaitChange(ctx)
}

// hasNews is hasGrown; the news may be that the end of the file is taken, and the error may be what
// a reload ends.
func (f *follower) hasNews() (news bool, err error) {
	if f.endIsAway() {
		return true, nil
	}
	if news, err = f.hasGrown(); news || err != nil {
		return news, err
	}
	return false, f.settled(true)
}

// rest notes that all whole lines are acknowledged.
func (f *follower) rest() {
	_, records := f.file.decoder.(*decode.Multiline)
	f.mu.Lock()
	f.report.rest, f.report.waits, f.report.record = f.reading.eof.Load(), "", records && f.reading.wait > 0
	f.mu.Unlock()
	if f.reading.eof.Load() == f.place.local.Offset {
		f.closeArchive()
	}
}

// stir notes that there are lines which are not acknowledged, though the size may be as before: of
// a record or a last line that is complete as it is.
func (f *follower) stir() {
	f.mu.Lock()
	f.report.rest = 0
	f.mu.Unlock()
}

// hasGrown reports whether the file's size is another than when it was read. The error
// is errTruncated if the file does not hold what was read of it.
func (f *follower) hasGrown() (bool, error) {
	local, eof := &f.place.local, f.reading.eof.Load()
	size, still := f.file.sizeBehind(local.cursor, eof)
	if size < local.Offset || !still {
		return false, cmp.Or(f.file.readable(local.Offset), errTruncated)
	}
	if size != eof {
		f.reading.noteGrowth(true)
		return true, nil
	}
	return false, nil
}

// idleFile is what is known of a file that has the size that was read.
func (f *follower) idleFile() idleFile {
	f.mu.Lock()
	x := idleFile{visible: f.visible, superseded: f.superseded}
	x.quiet = min(time.Since(f.hidden), time.Since(f.reading.grown))
	f.mu.Unlock()
	x.partial, x.whole, x.final = f.reading.eof.Load() > f.place.local.Offset, f.table.Whole, f.reading.final
	x.deleted = !x.visible && x.quiet > f.t.Grace && f.file.deleted() // asked only where it counts
	return x
}

// awaitChange waits until the file may have changed; more reports that it must be read
// though its size has not.
func (f *follower) awaitChange(ctx context.Context) (more bool, err error) {
	select {
	case <-f.wake:
		return f.holes.waits, nil // a hole may be filled, which changes no size
	case <-f.holes.due():
		return true, nil
	case <-f.reading.due():
		return true, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}
