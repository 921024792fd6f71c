package sink

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"fanin/internal/disk"
	"fanin/internal/wire"
)

// idleCheckpoint is how long a committed line may wait for a checkpoint.
const idleCheckpoint = 5 * time.Second

// trouble is what keeps the writer from taking batches, for as long as it does.
type trouble struct {
	since time.Time
	said  time.Time
	text  string
}

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
			if err := w.pause(w.noFile); err != nil {
				return err
			}
			continue
		}
		if w.s.RotateSize > 0 && w.file.size > 0 && w.file.size+n > w.s.RotateSize {
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

// sayAgain is how often a trouble that lasts is said.
const sayAgain = time.Minute

// suffer says what keeps the writer from going on, once a minute.
func (w *writer) suffer(cause error) {
	now := time.Now()
	if w.trouble.since.IsZero() {
		w.trouble.since = now
		w.s.counts.full.Add(1)
	}
	if text := remedy(cause) + "; fanin goes on by itself and loses nothing"; text != w.trouble.text {
		w.trouble.text, w.trouble.said = text, time.Time{}
	}
	if now.Sub(w.trouble.said) > sayAgain {
		w.trouble.said = now
		w.s.Log.Error(w.trouble.text)
	}
	w.s.setTrouble(w.trouble.text)
}

// remedy says what is wrong and what to do.
func remedy(cause error) string {
	switch {
	case disk.IsFull(cause):
		return fmt.Sprintf("no room on the disk: %v; free some", cause)
	case disk.IsScarce(cause):
		return fmt.Sprintf("out of file descriptors: %v; allow more (LimitNOFILE=, ulimit -n) or have fewer connections", cause)
	case errors.Is(cause, fs.ErrNotExist):
		return fmt.Sprintf("a directory is gone: %v; make it again", cause)
	case errors.Is(cause, fs.ErrPermission), errors.Is(cause, syscall.EROFS):
		return fmt.Sprintf("not permitted: %v; permit it", cause)
	}
	return cause.Error()
}

// complaint is what was said last of a thing that keeps failing but keeps no lines.
type complaint struct {
	what string
	said time.Time
}

// complain says it once a minute.
func (w *writer) complain(what string, err error) {
	if now := time.Now(); what != w.complaint.what || now.Sub(w.complaint.said) > sayAgain {
		w.complaint = complaint{what, now}
		w.s.Log.Error(what, "path", w.s.Path, "err", err)
	}
}

// pause suffers for a moment. It returns an error only when the sink is closing.
func (w *writer) pause(cause error) error {
	w.suffer(cause)
	w.s.alive()
	select {
	case <-w.s.quit:
		return fmt.Errorf("closed while waiting for room: %w", cause)
	case <-time.After(100 * time.Millisecond):
		return nil
	}
}

// settle ends a trouble, and leaves a line about it in the log.
func (w *writer) settle() {
	if w.trouble.since.IsZero() {
		return
	}
	w.s.Notice("RESUMED after=%s reason=%q lost=0", time.Since(w.trouble.since).Round(time.Millisecond), w.trouble.text)
	w.relieve()
}

// relieve ends a trouble of which the log says enough.
func (w *writer) relieve() {
	w.trouble = trouble{}
	w.s.setTrouble("")
}

// tick is what the writer does when nothing arrives.
func (w *writer) tick() error {
	if w.pending == nil {
		if why := w.strayed(); why != "" {
			return w.remake(why)
		}
	}
	if w.pending == nil && w.wal.used() > 0 && time.Since(w.last) > idleCheckpoint {
		w.start(w.capture())
	}
	if why := w.file.foul(w.s.Path); why != "" && w.mayReplace() {
		return w.replace(why)
	}
	now := time.Now()
	if w.rotationDue(now) {
		return w.rotate("time")
	}
	return w.expire(now)
}

// takeNotices puts the log's own lines into the group.
func (w *writer) takeNotices() {
	for _, n := range w.s.notices.take() {
		w.s.counts.of(inputOwn).received.Add(1)
		if w.s.Format == "raw" {
			w.s.counts.of(inputOwn).reject(reasonRaw, 1)
			continue
		}
		w.layout.Begin(n.time, w.s.Host, wire.SourceNotice, nil)
		w.s.counts.of(inputOwn).wrote(w.lay(record{time: n.time}, n.text))
	}
}

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

// finish commits what was taken, and leaves nothing for the next start to do.
func (w *writer) finish() error {
	err := w.commit()
	if err == nil {
		err = w.checkpointAs(func(c *checkpoint) {
			c.slot.Clean, c.durable, c.file = true, true, w.file.f
		})
	}
	if err != nil {
		return w.fail(err)
	}
	w.file.release()
	w.stop()
	return nil
}

// stop closes the files; a checkpoint under way is waited for.
func (w *writer) stop() {
	if w.pending != nil {
		<-w.done
		w.pending = nil
	}
	w.close()
}

// close closes what is open, if anything is yet.
func (w *writer) close() {
	if w.file != nil {
		w.file.f.Close()
	}
	if w.wal != nil && w.wal.f != nil {
		w.wal.f.Close()
	}
	if w.keeper != nil {
		w.keeper.close()
	}
}

// errClosed is the outcome of an Append that came too late.
var errClosed = errors.New("the log is closed")
