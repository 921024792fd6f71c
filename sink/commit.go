package sink

import (
	"errors"
	"fmt"
	"time"

	"fanin/internal/disk"
)

// makeWay prepares the file for n more bytes: the right file, not too large, with room
// on the disk. It waits as long as there is no room: nothing was committed yet, so no
// answer has been sent.
func (w *writer) makeWay(n int64) error {
	for {
		why := w.file.interference(w.s.Path)
		if why != "" && w.mayReplace() {
			if err := w.replace(why); err != nil {
				return err
			}
		}
		if why != "" && w.file.deleted() { // nothing may be committed that could not be read
			if err := w.pause(w.nextFile.err); err != nil {
				return err
			}
			continue
		}
		if w.s.Rotation.Size > 0 && w.file.size > 0 && w.file.size+n > w.s.Rotation.Size {
			if err := w.rotate("size"); err != nil {
				return err
			}
		}
		err := w.file.reserve(n)
		if err == nil {
			w.clearStall()
			return nil
		}
		if !disk.IsFull(err) {
			return fmt.Errorf("find room for the log: %w", err)
		}
		if err := w.pause(err); err != nil {
			return err
		}
	}
}

// commit makes the group durable, sends its answers and appends its text to the file.
// After the sync the outcome is decided: exactly these bytes go to exactly this place
// in the file before anything else does, now or at the next start.
func (w *writer) commit() error {
	g := &w.group
	if len(g.records)+len(g.extensions) > 0 {
		if err := w.makeWay(int64(len(g.text))); err != nil {
			return err
		}
		f := frame{records: g.records, names: g.names, extensions: g.extensions, text: g.text}
		if err := w.commitFrame(&f); err != nil {
			return err
		}
	} else if len(g.answers) > 0 { // repeats rely on the state, too
		if err := w.remakeIfGone(); err != nil {
			return err
		}
	}
	g.reply()
	g.reset()
	w.layout.ResetCounts()
	w.trimKeys()
	if w.wal.used() > w.wal.size/2 && w.checkpoints.pending == nil {
		w.startCheckpoint(w.capture())
	}
	return nil
}

// commitFrame logs f, sends the answers, and appends f's text to the file. If the file
// was deleted meanwhile, nothing could ever read the text there: f is committed again,
// into the next file. Either way it is in the log exactly once afterwards.
func (w *writer) commitFrame(f *frame) error {
	for {
		if err := w.log(f); err != nil {
			return err
		}
		w.group.reply()
		readable, err := w.appendToFile(f)
		if readable || err != nil {
			return err
		}
		if err := w.leaveDeletedFile(); err != nil {
			return err
		}
	}
}

// log writes f into the write-ahead log, makes it durable and applies it. It waits for
// a checkpoint when the ring is full. A frame in a write-ahead log that was deleted
// meanwhile does not count: it is written again, into the next.
func (w *writer) log(f *frame) error {
	for {
		w.position(f)
		err := w.wal.append(f)
		if errors.Is(err, errNoRoom) {
			if err := w.checkpoint(); err != nil {
				return err
			}
			continue
		}
		if err == nil && w.s.Sync == syncCommit {
			err = w.syncWAL()
		}
		if err != nil {
			return err
		}
		why := w.walGone()
		if why == "" {
			break
		}
		if err := w.remake(why); err != nil {
			return err
		}
	}
	w.wal.durable = w.wal.lsn // in mode none: as durable as it gets
	w.s.view.mu.Lock()
	w.catalog.apply(f, time.Now().UnixMicro())
	w.s.view.mu.Unlock()
	for i := range f.records {
		w.ledger.records = f.records[i].append(w.ledger.records)
	}
	w.ledger.size += int64(len(f.records)) * recordSize
	w.s.counts.commits.Add(1)
	return nil
}

// position assigns f and its records their place behind the end of the live file.
func (w *writer) position(f *frame) {
	f.generation, f.position = w.file.generation, w.file.size
	at := f.position
	for i := range f.records {
		f.records[i].position = at
		at += int64(f.records[i].length)
	}
}

// syncWAL makes the frames so far durable and measures how long that takes.
func (w *writer) syncWAL() error {
	begin := time.Now()
	if err := w.wal.sync(); err != nil {
		return err
	}
	w.s.counts.syncTime.Observe(time.Since(begin).Seconds())
	return nil
}

// appendToFile appends a committed frame's text to the file. It returns false if the
// file had been deleted by then; the size is not published, so that no reader that has
// the file open reads the text twice.
func (w *writer) appendToFile(f *frame) (readable bool, err error) {
	shifted := int64(0)
	for rest := f.text; len(rest) > 0; {
		n, shift, err := w.file.append(rest)
		rest = rest[n:]
		if shift != 0 {
			shifted = shift
		}
		if err == nil {
			continue
		}
		if !disk.IsFull(err) {
			return false, fmt.Errorf("append to the log: %w", err)
		}
		if err := w.pause(err); err != nil {
			return false, err
		}
	}
	w.clearStall()
	if shifted == 0 && w.file.deleted() {
		return false, nil
	}
	w.s.publishSize(w.file)
	w.s.summarizer.live.add(w.layout.Counts(), w.file.size, len(f.text))
	if shifted != 0 {
		w.shiftLedger(len(f.records), shifted)
		return true, w.replace("appended to or truncated")
	}
	return true, nil
}

// leaveDeletedFile begins the next file. It returns when there is one.
func (w *writer) leaveDeletedFile() error {
	for old := w.file.generation; w.file.generation == old; {
		var err error
		if w.mayReplace() {
			err = w.replace("deleted")
		} else {
			err = w.pause(w.nextFile.err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// shiftLedger corrects the last n records for where their text really landed.
func (w *writer) shiftLedger(n int, shift int64) {
	for at := len(w.ledger.records) - n*recordSize; at < len(w.ledger.records); at += recordSize {
		var r record
		if r.parse(w.ledger.records[at:]) == nil {
			r.position += shift
			r.append(w.ledger.records[at:at])
		}
	}
}
