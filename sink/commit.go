package sink

import (
	"errors"
	"fmt"
	"time"

	"fanin/internal/disk"
)

// makeWay gets the file ready for n more bytes: the right file, not too large,
// with room on the disk. It waits for as long as there is no room: nothing was
// committed, so nobody was told anything.
func (w *writer) makeWay(n int64) error {
	for {
		why := w.file.foul(w.s.Path)
		if why != "" && w.mayReplace() {
			if err := w.replace(why); err != nil {
				return err
			}
		}
		if why != "" && w.file.deleted() { // nothing may be taken that could not be read
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
			w.settle()
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

// commit makes the group durable, answers for it and then shows it to readers.
// From the sync on its fate is sealed: exactly these bytes go to exactly this
// place in the file before anything else does, now or at the next start.
func (w *writer) commit() error {
	g := &w.group
	if len(g.records)+len(g.extensions) > 0 {
		if err := w.makeWay(int64(len(g.text))); err != nil {
			return err
		}
		f := frame{records: g.records, names: g.names, extensions: g.extensions, text: g.text}
		if err := w.log(&f); err != nil {
			return err
		}
		g.reply()
		if err := w.show(&f); err != nil {
			return err
		}
	}
	if len(g.records)+len(g.extensions) == 0 && len(g.answers) > 0 { // repeats rest on the state, too
		if why := w.gone(); why != "" {
			if err := w.remake(why); err != nil {
				return err
			}
		}
	}
	g.reply()
	g.reset()
	w.trimKeys()
	if w.wal.used() > w.wal.size/2 && w.checkpoints.pending == nil {
		w.start(w.capture())
	}
	return nil
}

// log writes f into the write-ahead log, waiting for a checkpoint when the ring
// is full, and applies it. A write-ahead log that was deleted meanwhile is none:
// f is written again, into the next.
func (w *writer) log(f *frame) error {
	for {
		if err := w.logOnce(f); err != nil {
			return err
		}
		why := w.gone()
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

// logOnce writes f into the write-ahead log that there is, and syncs it.
func (w *writer) logOnce(f *frame) error {
	f.generation, f.position = w.file.generation, w.file.size
	at := f.position
	for i := range f.records {
		f.records[i].position = at
		at += int64(f.records[i].length)
	}
	err := w.wal.append(f)
	for errors.Is(err, errNoRoom) {
		if err = w.checkpoint(); err == nil {
			err = w.wal.append(f)
		}
	}
	if err != nil || w.s.Sync != syncCommit {
		return err
	}
	begin := time.Now()
	if err := w.wal.sync(); err != nil {
		return err
	}
	w.s.counts.syncTime.Observe(time.Since(begin).Seconds())
	return nil
}

// show appends a committed frame's text to the file. Whatever happens to the
// file meanwhile, the frame is in the log exactly once afterwards.
func (w *writer) show(f *frame) error {
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
			return fmt.Errorf("append to the log: %w", err)
		}
		if err := w.pause(err); err != nil {
			return err
		}
	}
	w.settle()
	if shifted == 0 && w.file.deleted() {
		return w.again(f) // not shown here, so that nobody who has it open reads it twice
	}
	w.s.shown(w.file)
	if shifted != 0 {
		w.shiftLedger(len(f.records), shifted)
		return w.replace("appended to or truncated")
	}
	return nil
}

// again commits a frame once more, into the next file: the one it was appended
// to had been deleted by then, so that nobody could ever read it there.
func (w *writer) again(f *frame) error {
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
	if err := w.log(f); err != nil {
		return err
	}
	return w.show(f)
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
