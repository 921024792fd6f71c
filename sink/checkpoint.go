package sink

import (
	"fmt"
	"time"

	"fanin/internal/disk"
)

// checkpoint is the state of the log at one moment, captured by the writer and then
// written by the checkpointer while the writer continues. The order makes it safe:
// first the file, so that the frames below are not needed; then ledger and catalog log;
// then the checkpoint slot that makes them count. Only after that does the writer reuse
// the room of the frames.
type checkpoint struct {
	slot    checkpointSlot
	file    *disk.File // to sync first; nil in mode none
	durable bool       // sync everything
	entries []byte     // entries to append, or a whole new table
	compact bool       // the entries begin a new file
	records []byte     // records to append
}

// checkpoints is the writer's record of its checkpoints.
type checkpoints struct {
	seq         uint64      // of the last one
	pending     *checkpoint // being written; its outcome comes over done
	done        chan error
	last        time.Time // when one was last started
	before      time.Time // when the last one before this start was written
	whole       bool      // the next one holds everything, synced, whatever the mode
	compactSize int64     // size of the catalog log when it was last written whole
	entries     []byte    // block of an earlier one's entries, for the next
	records     []byte    // the same of its records
}

// keptBlock is how large a block of a checkpoint may be that is kept for the next one.
const keptBlock = 16 << 20

// keep keeps the blocks of a checkpoint that counts.
func (k *checkpoints) keep(c *checkpoint) {
	if cap(c.entries) <= keptBlock {
		k.entries = c.entries[:0]
	}
	if cap(c.records) <= keptBlock {
		k.records = c.records[:0]
	}
}

// idleCheckpoint is how long a committed line may wait for a checkpoint.
const idleCheckpoint = 5 * time.Second

// capture takes down everything a checkpoint needs. All frames are in the file.
func (w *writer) capture() *checkpoint {
	w.checkpoints.seq++
	c := &checkpoint{
		durable: w.s.Sync == syncCommit,
		records: w.ledger.records,
		slot: checkpointSlot{
			Version: slotVersion, Seq: w.checkpoints.seq, Boot: w.s.env.boot, Sync: w.s.Sync,
			Log: w.catalog.log.String(), LogIncarnation: w.catalog.logIncarnation.String(),
			Began:    w.catalog.keys.floor,
			WALEpoch: w.wal.epoch, LSN: w.wal.lsn, Head: w.wal.head, WALSize: w.wal.size,
			Generation: w.file.generation, Inode: w.file.inode, Size: w.file.size,
			Ledger: w.ledger.size, Time: time.Now().UTC(),
		},
	}
	w.ledger.records, w.checkpoints.records = w.checkpoints.records, nil
	if c.durable {
		c.file = w.file.f
	}
	w.s.view.mu.Lock()
	defer w.s.view.mu.Unlock()
	g := w.catalog.live()
	g.size = w.file.size
	if w.checkpoints.whole || w.checkpointer.catalogLogSize > 1<<20 &&
		w.checkpointer.catalogLogSize > 4*w.checkpoints.compactSize {
		if w.checkpoints.whole {
			w.checkpoints.whole, c.durable, c.file = false, true, w.file.f
		}
		w.checkpoints.entries = w.catalog.delta(w.checkpoints.entries)[:0]
		space := w.checkpoints.compactSize + w.checkpoints.compactSize/8
		c.entries, c.compact = w.catalog.all(make([]byte, 0, space)), true
		w.checkpoints.compactSize = int64(len(c.entries))
		return c
	}
	c.entries, w.checkpoints.entries = w.catalog.delta(w.checkpoints.entries), nil
	return c
}

// startCheckpoint has c written in the background. The goroutine ends when it has sent
// the outcome over done.
func (w *writer) startCheckpoint(c *checkpoint) {
	w.checkpoints.pending, w.checkpoints.last = c, time.Now()
	k := w.checkpointer
	go func() { w.checkpoints.done <- k.write(c) }()
}

// endCheckpoint is called with the outcome of the pending checkpoint. If it counts, the
// frames that it covers may be overwritten.
func (w *writer) endCheckpoint(err error) error {
	c := w.checkpoints.pending
	w.checkpoints.pending = nil
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	w.checkpoints.keep(c)
	w.wal.tail = c.slot.Head
	w.s.counts.checkpoints.Add(1)
	return nil
}

// awaitCheckpoint waits for the pending checkpoint, if there is one.
func (w *writer) awaitCheckpoint() error {
	stalled := false
	for w.checkpoints.pending != nil {
		select {
		case err := <-w.checkpoints.done:
			if stalled { // otherwise the writer's stall has another cause, and lasts
				w.clearStall()
			}
			return w.endCheckpoint(err)
		case <-time.After(200 * time.Millisecond):
			w.s.alive() // a slow disk is no reason to be killed
			if err := w.checkpointer.lacking(); err != nil {
				w.reportStall(err)
				stalled = true
			}
		}
	}
	return nil
}

// writeCheckpoint writes a checkpoint with a change and waits for it. None is pending.
func (w *writer) writeCheckpoint(change func(*checkpoint)) error {
	c := w.capture()
	change(c)
	w.startCheckpoint(c)
	return w.awaitCheckpoint()
}

// checkpoint writes a checkpoint now and waits for it.
func (w *writer) checkpoint() error { return w.checkpointAs(unchanged) }

func unchanged(*checkpoint) {}

// checkpointAs writes a checkpoint with a change and waits for it. If the state
// directory is gone, it is made again instead, with all that the checkpoint holds but
// the change, in a new generation.
func (w *writer) checkpointAs(change func(*checkpoint)) error {
	if err := w.orRemake(w.awaitCheckpoint()); err != nil {
		return err
	}
	return w.orRemake(w.writeCheckpoint(change))
}

// orRemake returns the error of a checkpoint, unless it failed because the state was
// deleted or moved away. Then it makes the state again.
func (w *writer) orRemake(err error) error {
	if err != nil {
		if why := w.stateGone(); why != "" {
			return w.remake(why)
		}
	}
	return err
}
