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

// idleCheckpoint is how long a committed line may wait for a checkpoint.
const idleCheckpoint = 5 * time.Second

// capture takes down everything a checkpoint needs. All frames are in the file.
func (w *writer) capture() *checkpoint {
	w.seq++
	c := &checkpoint{
		durable: w.s.Sync == syncCommit,
		ledger:  w.ledger,
		slot: slot{
			Version: slotVersion, Seq: w.seq, Boot: w.s.boot, Sync: w.s.Sync,
			Log: w.catalog.log.String(), Incarnation: w.catalog.incarnation.String(),
			Life: w.wal.life, LSN: w.wal.lsn, Head: w.wal.head, WALSize: w.wal.size,
			Generation: w.file.generation, Inode: w.file.inode, Size: w.file.size,
			Ledger: w.ledSize, Time: time.Now().UTC(),
		},
	}
	w.ledger = nil
	if c.durable {
		c.file = w.file.f
	}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	g := w.catalog.live()
	g.size = w.file.size
	if w.whole || w.keeper.tableSize > 1<<20 && w.keeper.tableSize > 4*w.tableLive {
		if w.whole {
			w.whole, c.durable, c.file = false, true, w.file.f
		}
		w.catalog.delta(nil)
		c.table, c.compact = w.catalog.all(nil), true
		w.tableLive = int64(len(c.table))
		return c
	}
	c.table = w.catalog.delta(nil)
	return c
}

// start has a checkpoint written in the background. The goroutine is the
// writer's and ends with its one word over done.
func (w *writer) start(c *checkpoint) {
	w.pending, w.last = c, time.Now()
	go func() { w.done <- w.keeper.write(c) }()
}

// checkpointed takes the outcome of the pending checkpoint: what it covers may
// be overwritten now.
func (w *writer) checkpointed(err error) error {
	c := w.pending
	w.pending = nil
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
	for w.pending != nil {
		select {
		case err := <-w.done:
			if suffered { // else what troubles the writer is something else, and lasts
				w.settle()
			}
			return w.checkpointed(err)
		case <-time.After(200 * time.Millisecond):
			w.s.alive() // a slow disk is no reason to be killed
			if err := w.keeper.lacking(); err != nil {
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
