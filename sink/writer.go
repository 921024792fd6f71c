package sink

import (
	"time"

	"fanin/sink/line"
)

// writer owns everything that commits: one goroutine, no locks but the one under
// which others look at the catalog.
type writer struct {
	s       *Sink
	catalog *catalog
	layout  *line.Layout
	wal     *wal
	file    *file
	keeper  *checkpointer
	mover   mover

	group     group
	ledger    []byte // records of the live generation since the last checkpoint
	ledSize   int64  // bytes of its ledger, those included
	tableLive int64  // bytes of the table when it was last written whole

	seq      uint64      // of the last checkpoint
	pending  *checkpoint // being written; its outcome comes over done
	done     chan error
	last     time.Time // of the last checkpoint
	expired  time.Time // when lossy streams were looked through last
	keyClock keyClock
	limited  map[string]time.Time // when it was last said that a limit is met
	before   time.Time            // of the last checkpoint before the start

	trouble                   trouble
	complaint                 complaint
	rotateAfter, replaceAfter time.Time // not before, after it failed
	noFile                    error     // why the last try to begin a file failed
	whole                     bool      // the next checkpoint holds everything, synced, whatever the mode
	remaking                  bool      // the state is being made again
}

// run is the writer: it takes what waits, commits it as one group, and looks
// after the file in between. It ends when the sink closes or the disk fails.
func (w *writer) run() error {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		var err error
		w.s.alive()
		w.rest()
		select {
		case r := <-w.s.in:
			w.rested()
			err = w.gather(r)
		case call := <-w.s.calls:
			err = call(w)
		case err = <-w.done:
			err = w.checkpointed(err)
		case <-w.s.notices.wake:
		case <-tick.C:
			err = w.tick()
		case <-w.s.quit:
			return w.finish()
		}
		if err == nil {
			w.takeNotices()
			err = w.commit()
		}
		if err != nil {
			return w.fail(err)
		}
	}
}

// rested notes that the writer has batches to work on, rest that it waits for
// some.
func (w *writer) rested() { w.s.working.Store(time.Now().UnixNano()) }

func (w *writer) rest() {
	if since := w.s.working.Swap(0); since != 0 {
		w.s.worked.Add(time.Now().UnixNano() - since)
	}
}

// gather takes r and all that waits behind it, up to a full group.
func (w *writer) gather(r *request) error {
	for {
		if err := w.take(r); err != nil {
			return err
		}
		if w.group.full() {
			return nil
		}
		select {
		case r = <-w.s.in:
		default:
			return nil
		}
	}
}

// fail answers everybody that the outcome is not known, and ends the writer. The
// write-ahead log may hold what was not acknowledged; the next start decides.
func (w *writer) fail(err error) error {
	for i := range w.group.answers {
		w.group.answers[i].err = err
	}
	w.group.reply()
	w.stop()
	return err
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
	if err := w.expire(now); err != nil {
		return err
	}
	return w.expireKeys()
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
