package sink

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	"fanin/internal/disk"
)

// retryFile is the pause between two attempts to begin another file. Until one succeeds,
// the writer uses the file that it has.
const retryFile = time.Second

// nextFile is when the writer may try again to begin another file.
type nextFile struct {
	rotateAfter  time.Time // after a rotation that failed
	replaceAfter time.Time // after a replacement that failed
	err          error     // why the last try failed, nil if it did not
}

// rotate closes the live file under a backup's name and begins the next. It is a
// checkpoint, so that the write-ahead log never describes two files; and each of
// its steps can be found again by inode after a crash:
//
//	sync the file; checkpoint {rotating, generation, inode, size}
//	lumberjack moves it and makes the next; sync the directory
//	checkpoint {generation + 1, the next one's inode}, with the backup's name in the catalog log
//
// When it cannot be moved, the file just grows further, and that is reported.
func (w *writer) rotate(trigger string) error {
	if time.Now().Before(w.nextFile.rotateAfter) {
		return nil
	}
	generation := w.file.generation
	if err := w.checkpointAs(func(c *checkpoint) { c.slot.Rotating = true }); err != nil ||
		w.file.generation != generation {
		return err // in the second case the state had to be made again, and a file was begun
	}
	if _, err := w.mover.move(w.file.inode); errors.Is(err, errNotMoved) {
		w.nextFile.rotateAfter = time.Now().Add(retryFile)
		w.s.counts.rotations.errors.Add(1)
		w.warnings.Error("rotate", "cannot rotate; the file grows further, no line is lost, and it is tried "+
			"again each second",
			"path", w.s.Path, "err", err)
		return nil
	}
	w.file.release() // only now: a process that appends to the log by its name no longer meets this file
	began, err := w.nextGeneration()
	if began {
		w.s.counts.rotated(trigger)
	}
	return err
}

// mayReplace reports whether it is time to try for a new file.
func (w *writer) mayReplace() bool {
	return !time.Now().Before(w.nextFile.replaceAfter)
}

// replace begins a new file because another process interfered with this one. What is
// in the old one stays, and counts, where it can still be found.
func (w *writer) replace(why string) error {
	if err := w.checkpoint(); err != nil {
		return err
	}
	old := w.catalog.live()
	since, lack := w.stall.since, w.nextFile.err
	began, err := w.nextGeneration()
	if err != nil || !began {
		return err
	}
	if !since.IsZero() && lack != nil {
		why += fmt.Sprintf(" (%v, for %s)", lack, time.Since(since).Round(time.Millisecond))
		w.endStall()
	}
	w.s.counts.interference.Add(1)
	where := old.name
	if where == "" {
		where = "gone"
	}
	w.s.Notice("INTERFERENCE file=%s generation=%d %s by another process; continuing in generation %d; the old "+
		"file is %s",
		filepath.Base(w.s.Path), old.number, why, w.file.generation, where)
	return nil
}

// nextGeneration begins the next generation and writes the checkpoint that names its
// file. If no file can be opened, the writer continues with the one it has; began is
// then false.
func (w *writer) nextGeneration() (began bool, err error) {
	old := w.catalog.live().number
	if began, err = w.begin(); err != nil {
		return false, err
	}
	if !began {
		w.reportNoFile()
		return false, nil
	}
	if err := w.checkpoint(); err != nil {
		return false, err
	}
	if w.s.onClose != nil {
		w.s.onClose(old, w.s.AllMarks())
	}
	w.s.janitor.wakeUp()
	w.s.summarizer.wakeUp()
	return true, nil
}

// reportNoFile reports why the next generation could not begin.
func (w *writer) reportNoFile() {
	if w.file.deleted() {
		w.reportStall(w.nextFile.err)
		return
	}
	w.warnings.Error("next file", "cannot begin a new file; lines go to the old one under its new name, "+
		"and it is tried again each second", "path", w.s.Path, "err", w.nextFile.err)
}

// begin makes the next generation's file at the log's path; the one before is wherever
// its inode is found, or gone. A file of another program that is there already is kept,
// as a generation of its own. If no file can be opened, began is false, nextFile.err has
// the reason, and the writer still has the file that it had. The caller then writes the
// checkpoint that names the new file.
func (w *writer) begin() (began bool, err error) {
	var next *file
	var found *generation
	err = w.s.lockAgain(w.s.own.locks[:1]) // the log's own
	if err == nil {
		next, found, err = w.openNext()
	}
	if err == nil {
		if err = w.s.Disk.SyncDir(filepath.Dir(w.s.Path)); err != nil {
			next.f.Close()
		}
	}
	var name string
	if err == nil {
		if name, err = w.mover.find(w.file.inode); err != nil {
			next.f.Close()
		}
	}
	if err != nil && !retryable(err) {
		return false, err
	}
	if err != nil {
		w.nextFile.replaceAfter, w.nextFile.err = time.Now().Add(retryFile), fmt.Errorf("begin a new file: %w", err)
		return false, nil
	}
	w.s.view.mu.Lock()
	old := w.catalog.live()
	old.close(name, w.file)
	w.catalog.touchGeneration(old)
	number := old.number + 1
	if found != nil {
		found.number = number
		w.catalog.add(found)
		number++
	}
	w.catalog.add(&generation{number: number, name: filepath.Base(w.s.Path), inode: next.inode,
		state: stateLive, opened: next.opened.UTC()})
	w.s.view.size = next.size
	w.s.view.mu.Unlock()
	w.file.f.Close()
	w.file, next.generation, w.nextFile.err = next, number, nil
	w.ledger.size = 0
	w.s.publishSize(w.file)
	w.s.summarizer.live.begin(w.catalog.live().summaryFile(next.size))
	return true, nil
}

// retryable reports whether another try may go better: an error of the disk
// itself is final, and another collector stays; whatever else keeps a file from being
// made may pass.
func retryable(err error) bool {
	return !errors.Is(err, syscall.EIO) && !errors.Is(err, disk.ErrLocked) && !errors.Is(err, errForeignState)
}

// close ends a generation: f is its file, and name what that is called now.
func (g *generation) close(name string, f *file) {
	g.name, g.closed, g.state = name, time.Now().UTC(), statePlain
	g.size = f.size
	if name == "" {
		g.state, g.size = stateLost, f.published
		return
	}
	if fi, err := f.f.Stat(); err == nil {
		g.size = fi.Size()
	}
}

// openNext opens a fresh file at the path. If others' lines are in the one that
// is there, that is moved aside first and returned as a generation, unless another
// collector has it.
func (w *writer) openNext() (next *file, found *generation, err error) {
	next, err = w.s.openFile()
	if err != nil {
		return nil, nil, err
	}
	own := next.inode == w.file.inode // truncated or appended to; it is in the catalog already
	if !own {
		if err := w.s.lockFile(next); err != nil || next.size == 0 {
			return next, nil, err
		}
	}
	inode, size := next.inode, next.size
	next.f.Close()
	name, err := w.mover.move(inode)
	if err != nil {
		return nil, nil, err
	}
	if !own {
		now := time.Now().UTC()
		found = &generation{name: name, inode: inode, size: size, state: statePlain, opened: now, closed: now}
	}
	if next, err = w.s.openFile(); err == nil {
		err = w.s.lockFile(next)
	}
	return next, found, err
}

// rotationDue reports whether rotate_every and rotate_at ask for a rotation.
func (w *writer) rotationDue(now time.Time) bool {
	if w.s.Rotation.Every <= 0 || w.file.size == 0 {
		return false
	}
	return !now.Before(nextRotation(w.file.opened, w.s.Rotation.Every, w.s.Rotation.At, w.s.Rotation.AtSet))
}

// nextRotation is when a file opened at that time is to be rotated.
func nextRotation(opened time.Time, every, at time.Duration, atSet bool) time.Time {
	if !atSet {
		return opened.Add(every)
	}
	opened = opened.UTC()
	next := opened.Truncate(24 * time.Hour).Add(at)
	for next.After(opened) {
		next = next.Add(-every)
	}
	for !next.After(opened) {
		next = next.Add(every)
	}
	return next
}
