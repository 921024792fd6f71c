package sink

import (
	"time"

	"fanin/internal/retry"
	"fanin/sink/line"
)

// writer owns everything that commits. It is one goroutine; it holds view.mu only while
// it changes what others read. What holds between two turns of its loop:
//
//   - Every answer that was sent rests on a durable frame (mode none: a written one) or
//     on a checkpoint, at the name where the next start looks for it.
//   - The text of every frame in the write-ahead log is in the file, at the place that
//     the frame names, or its generation was closed.
//   - All frames of the write-ahead log that no checkpoint covers are of one generation,
//     the live one.
//   - catalog is the last checkpoint with all later frames applied, and nothing else:
//     applying them again after a crash gives the same.
//   - file.published <= file.size: readers see committed text only.
//   - At most one checkpoint is pending, and the ring before wal.tail is all that it and
//     its successors may overwrite.
//
// Its calls go one way, so none of them meets itself again:
//
//	run -> take, tick, calls of others -> commit -> makeWay, log, appendToFile
//	    -> rotate, replace -> nextGeneration -> begin
//	    -> checkpoint -> remake -> begin, writeCheckpoint
type writer struct {
	s            *Sink
	catalog      *catalog
	layout       *line.Layout
	wal          *wal
	file         *file
	mover        mover
	checkpointer *checkpointer

	group       group
	ledger      ledgerTail
	checkpoints checkpoints
	stall       stall
	nextFile    nextFile
	warnings    *retry.Log
	lastExpiry  time.Time // when lossy streams that expired were last looked for
	keyClock    keyClock
	gathering   gathering
	divided     int // groups that gather committed in the middle of batches
}

// ledgerTail is what the next checkpoint appends to the live generation's ledger.
type ledgerTail struct {
	records []byte
	size    int64 // of the ledger, records included
}

// run is the writer: it takes what waits, commits it as one group, and looks
// after the file in between. It ends when the sink closes or the disk fails.
func (w *writer) run() error {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		var err error
		w.stopBusy()
		w.s.alive()
		select {
		case <-w.s.queue.requests.sleep(0):
			w.gathering.begin(&w.s.queue.requests, w.s.queue.quit)
			w.startBusy()
			err = w.gather()
		case call := <-w.s.queue.calls:
			err = call(w)
		case err = <-w.checkpoints.done:
			err = w.orRemake(w.endCheckpoint(err))
		case <-w.s.queue.notices.wake:
		case <-tick.C:
			err = w.tick()
		case <-w.s.queue.quit:
			return w.finish()
		}
		if err == nil {
			w.acceptNotices()
			err = w.commit()
		}
		if err != nil {
			return w.fail(err)
		}
	}
}

// startBusy and stopBusy measure for how long the writer has batches to work on.
func (w *writer) startBusy() { w.s.queue.busy.since.Store(time.Now().UnixNano()) }

func (w *writer) stopBusy() {
	if since := w.s.queue.busy.since.Swap(0); since != 0 {
		w.s.queue.busy.total.Add(time.Now().UnixNano() - since)
	}
}

// mostDivided is how many groups are committed in the middle of batches before the writer comes to what else it has to
// do: the ends of checkpoints, ticks and calls of others would else wait for as long as there are requests. What is
// left of the last batch has a group of its own then, and a sync.
const mostDivided = 8

// gather takes all requests that wait, up to a full group.
func (w *writer) gather() error {
	for w.divided = 0; !w.group.full() && w.divided < mostDivided; {
		r := w.s.queue.requests.pop()
		if r == nil {
			break
		}
		if err := w.accept(r); err != nil {
			return err
		}
	}
	return nil
}

// fail answers all requests that their outcome is unknown, and ends the writer. The
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
	if w.checkpoints.pending == nil {
		if why := w.stateGone(); why != "" {
			return w.remake(why)
		}
	}
	if w.checkpoints.pending == nil && w.wal.used() > 0 && time.Since(w.checkpoints.last) > idleCheckpoint {
		w.startCheckpoint(w.capture())
	}
	if why := w.file.interference(w.s.Path); why != "" && w.mayReplace() {
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

// finish commits what was accepted, so that the next start has nothing to redo.
func (w *writer) finish() error {
	w.acceptNotices()
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
	if w.checkpoints.pending != nil {
		<-w.checkpoints.done
		w.checkpoints.pending = nil
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
	if w.checkpointer != nil {
		w.checkpointer.close()
	}
}
