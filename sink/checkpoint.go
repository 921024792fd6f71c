package sink

import (
	"fmt"
	"time"

	"fanin/internal/disk"
)

// checkpoint is one point in the life of a log, captured by the writer and then
// written by the checkpointer while the writer goes on. The order is what makes
// it safe: first the file, so that the frames below are not needed; then table
// and ledger; then the slot that makes them count. Only after that does the
// writer reuse the frames' room.
type checkpoint struct {
	slot    slot
	file    *disk.File // to sync first; nil in mode none
	durable bool       // sync everything
	table   []byte     // entries to append, or a whole new table
	compact bool       // the table begins a new file
	ledger  []byte     // records to append
}

// checkpoints is the writer's record of its checkpoints.
type checkpoints struct {
	seq       uint64      // of the last one
	pending   *checkpoint // being written; its outcome comes over done
	done      chan error
	last      time.Time // when one was last started
	before    time.Time // when the last one before this start was written
	whole     bool      // the next one holds everything, synced, whatever the mode
	tableLive int64     // size of the catalog log when it was last written whole
}

// idleCheckpoint is how long a committed line may wait for a checkpoint.
const idleCheckpoint = 5 * time.Second

// capture takes down everything a checkpoint needs. All frames are in the file.
func (w *writer) capture() *checkpoint {
	w.checkpoints.seq++
	c := &checkpoint{
		durable: w.s.Sync == syncCommit,
		ledger:  w.ledger.records,
		slot: slot{
			Version: slotVersion, Seq: w.checkpoints.seq, Boot: w.s.env.boot, Sync: w.s.Sync,
			Log: w.catalog.log.String(), Incarnation: w.catalog.incarnation.String(),
			Life: w.wal.life, LSN: w.wal.lsn, Head: w.wal.head, WALSize: w.wal.size,
			Generation: w.file.generation, Inode: w.file.inode, Size: w.file.size,
			Ledger: w.ledger.size, Time: time.Now().UTC(),
		},
	}
	w.ledger.records = nil
	if c.durable {
		c.file = w.file.f
	}
	w.s.view.mu.Lock()
	defer w.s.view.mu.Unlock()
	g := w.catalog.live()
	g.size = w.file.size
	if w.checkpoints.whole || w.checkpointer.tableSize > 1<<20 && w.checkpointer.tableSize > 4*w.checkpoints.tableLive {
		if w.checkpoints.whole {
			w.checkpoints.whole, c.durable, c.file = false, true, w.file.f
		}
		w.catalog.delta(nil)
		c.table, c.compact = w.catalog.all(nil), true
		w.checkpoints.tableLive = int64(len(c.table))
		return c
	}
	c.table = w.catalog.delta(nil)
	return c
}

// start has a checkpoint written in the background. The goroutine is the
// writer's and ends with its one word over done.
func (w *writer) start(c *checkpoint) {
	w.checkpoints.pending, w.checkpoints.last = c, time.Now()
	go func() { w.checkpoints.done <- w.checkpointer.write(c) }()
}

// checkpointed takes the outcome of the pending checkpoint: what it covers may
// be overwritten now.
func (w *writer) checkpointed(err error) error {
	c := w.checkpoints.pending
	w.checkpoints.pending = nil
	if err != nil && !w.remaking {
		if why := w.strayed(); why != "" {
			return w.remake(why) // with all that this checkpoint was to hold
		}
	}
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	w.wal.tail = c.slot.Head
	w.s.counts.checkpoints.Add(1)
	return nil
}

// wait waits for the pending checkpoint, if there is one.
func (w *writer) wait() error {
	suffered := false
	for w.checkpoints.pending != nil {
		select {
		case err := <-w.checkpoints.done:
			if suffered { // else what troubles the writer is something else, and lasts
				w.settle()
			}
			return w.checkpointed(err)
		case <-time.After(200 * time.Millisecond):
			w.s.alive() // a slow disk is no reason to be killed
			if err := w.checkpointer.lacking(); err != nil {
				w.suffer(err)
				suffered = true
			}
		}
	}
	return nil
}

// checkpoint writes one now and waits for it.
func (w *writer) checkpoint() error { return w.checkpointAs(func(*checkpoint) {}) }

// checkpointAs writes a checkpoint with a change, and waits for it.
func (w *writer) checkpointAs(change func(*checkpoint)) error {
	if err := w.wait(); err != nil {
		return err
	}
	c := w.capture()
	change(c)
	w.start(c)
	return w.wait()
}
