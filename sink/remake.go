package sink

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	"fanin/internal/disk"
)

// The state directory may be deleted or moved away while the collector runs. What
// is written into it from then on, no start will find: nothing may be acknowledged
// on the strength of it. But all that it held is still known here, so it is made
// again from memory, as opening makes it, and no watermark is lost:
//
//	sync the file: what was acknowledged is in it, and nowhere else any more
//	make the directory and take its lock
//	begin the next generation, since the old one's ledger is gone, with a
//	checkpoint that holds everything
//	make a new write-ahead log
//
// A crash before the checkpoint finds a log without state, as it would have before.

// walGone returns what became of the write-ahead log, "" when it is at its name. It is
// asked before each answer, and costs one system call.
func (w *writer) walGone() string {
	if w.wal.f.InPlace() {
		return ""
	}
	return w.wal.f.Strayed()
}

// stateGone returns the same for all of the state. No checkpoint may be pending.
func (w *writer) stateGone() string {
	for _, f := range []*disk.File{w.wal.f, w.checkpointer.slots, w.checkpointer.catalogLog, w.checkpointer.ledger} {
		if f == nil {
			continue
		}
		if why := f.Strayed(); why != "" {
			return why
		}
	}
	return ""
}

// errForeignState is the error when another collector's state is at our path.
var errForeignState = errors.New("the state of another collector is there now")

// remakeIfGone makes the state again if the write-ahead log is gone.
func (w *writer) remakeIfGone() error {
	if why := w.walGone(); why != "" {
		return w.remake(why)
	}
	return nil
}

// remake makes the state again, for as long as that takes. The error that it
// returns ends the writer; the file is safe by then.
func (w *writer) remake(why string) error {
	w.reportStall(fmt.Errorf("the state directory %s was %s by another process", w.s.State, why))
	if err := w.awaitCheckpoint(); errors.Is(err, syscall.EIO) { // any other has the cause that is known
		return err
	}
	if err := w.file.f.Sync(); err != nil {
		return fmt.Errorf("sync the log: %w", err)
	}
	made := false
	for {
		var err error
		if !made {
			err = w.remakeState()
			made = err == nil
		}
		if err == nil {
			w.wal.f, err = openWAL(w.s.Disk, w.s.State, w.s.env.walSize)
		}
		if err == nil {
			break
		}
		err = fmt.Errorf("the state directory was %s by another process, and cannot be made again: %w", why, err)
		if !retryable(err) {
			return err
		}
		if err := w.pause(err); err != nil {
			return err
		}
	}
	w.s.counts.interference.Add(1)
	w.s.Notice("INTERFERENCE state=%s %s by another process; made again after %s, with all that it held; "+
		"continuing in generation %d",
		w.s.State, why, time.Since(w.stall.since).Round(time.Millisecond), w.file.generation)
	w.s.Log.Info("the state directory is made again and lines are accepted", "state", w.s.State)
	w.endStall()
	return nil
}

// remakeState makes all of the state but the write-ahead log. It makes no directory
// above it: that may be where a file system is missing.
func (w *writer) remakeState() error {
	if err := w.s.Disk.Mkdir(w.s.State, w.s.Modes.Dir); err != nil {
		return err
	}
	if err := w.s.lockAgain(w.s.own.locks); err != nil {
		return err
	}
	path := filepath.Join(w.s.State, checkpointName)
	if exists(path) && w.checkpointer.slots.Strayed() != "" {
		return fmt.Errorf("%w: %s", errForeignState, path)
	}
	slots, err := openCheckpoints(w.s.Disk, w.s.State)
	if err != nil {
		return err
	}
	if err := w.saveLedger(); err != nil {
		return err
	}
	table := w.checkpointer.catalogLogNumber
	w.checkpointer.close()
	if w.wal.f != nil {
		w.wal.f.Close()
	}
	w.checkpointer = &checkpointer{disk: w.s.Disk, dir: w.s.State, slots: slots, catalogLogNumber: table,
		quit: w.s.queue.quit, warnings: w.warnings}
	w.wal = &wal{size: w.s.env.walSize, epoch: random64(), lsn: w.wal.lsn, durable: w.wal.lsn}
	w.ledger.records, w.ledger.size, w.checkpoints.whole = nil, 0, true
	began, err := w.begin()
	if err == nil && !began {
		err = w.nextFile.err
	}
	if err != nil {
		return err
	}
	if err := w.writeCheckpoint(unchanged); err != nil {
		return err
	}
	w.s.janitor.wakeUp()
	w.s.summarizer.wakeUp()
	return nil
}

// saveLedger completes the ledger of the file that is about to be closed, if it is
// still there.
func (w *writer) saveLedger() error {
	k := w.checkpointer
	if len(w.ledger.records) == 0 || k.ledger == nil || k.ledgerGeneration != w.file.generation ||
		k.ledger.Strayed() != "" {
		return nil
	}
	if _, err := k.ledger.WriteAt(w.ledger.records, w.ledger.size-int64(len(w.ledger.records))); err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	return k.ledger.Sync()
}

// lockAgain takes those of the locks again whose file is no longer at its path.
func (s *Sink) lockAgain(locks []*disk.File) error {
	for i, f := range locks {
		if f.Strayed() == "" {
			continue
		}
		again, err := s.Disk.Lock(f.Name())
		if err != nil {
			return s.lockError(err)
		}
		f.Close()
		locks[i] = again
		if i == 0 {
			s.markLock(again, s.view.catalog.log)
		}
	}
	return nil
}
