package sink

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	lumberjack "gopkg.in/natefinch/lumberjack.v2"

	"fanin/internal/disk"
	"fanin/internal/retry"
	"fanin/internal/wire"
	"fanin/sink/line"
)

// recover opens the log. Whatever was acknowledged before must be true again before
// anything new is acknowledged, and must then survive a power cut in the very next
// moment: frames read back after kill -9 may be in the page cache only. So the order is:
// make the last frames durable; redo; sync the file and its directory; make the slots
// durable; checkpoint under a new epoch of the write-ahead log; and only then does the
// writer start.
//
// Redo only extends our own bytes: the file must be the one the checkpoint names, hold
// at least what it held then, and from there on a part of what the frames say, or
// zeros, which is what a power cut leaves of unwritten pages. Redo writes all of it
// again, also what seems to be there: after a failed sync, the page cache shows bytes
// that are not on the disk. Anything else means that another process changed the file.
// What then happens is in the table of outcomes.
func (s *Sink) recover(ctx context.Context) (*writer, error) {
	w := &writer{s: s, checkpoints: checkpoints{done: make(chan error, 1), last: time.Now()},
		warnings: retry.NewLog(s.Log)}
	w.group.streams, w.group.added = make(map[wire.StreamID]bool), make(map[scope]int)
	w.group.ends = make(map[wire.StreamID]end)
	var err error
	if w.layout, err = line.NewLayout(s.Format); err != nil {
		return w, err
	}
	w.mover = mover{path: s.Path, log: &lumberjack.Logger{Filename: s.Path, MaxSize: 1 << 30}}
	w.mover.keepSpare(true)
	r := &recovery{w: w, s: s}
	if err := r.load(); err != nil {
		return w, err
	}
	found, err := r.find()
	if err != nil {
		return w, err
	}
	name, o := found.decide()
	if s.env.recovered != nil {
		s.env.recovered(name)
	}
	if err := r.carryOut(ctx, o); err != nil {
		return w, err
	}
	return w, r.makeDurable(ctx)
}

// recovery opens a log: load, find, decide, carryOut, makeDurable.
type recovery struct {
	w        *writer
	s        *Sink
	slot     *checkpointSlot // the newest checkpoint; nil: there is no state
	rebooted bool            // see finding
	redo     []frame
	unsynced []unsyncedFrame // of those, what may be in the page cache only
	name     string          // of the checkpoint's file now; "" if it is gone
	size     int64           // of that file
	adopted  int             // files that no generation named
	outcome  outcome
}

// load reads the checkpoint and applies the frames behind it to the catalog.
func (r *recovery) load() (err error) {
	w, s := r.w, r.s
	if r.slot, err = readCheckpoint(s.State); err != nil {
		return err
	}
	if r.slot == nil {
		w.catalog = newCatalog()
		w.catalog.log = wire.NewStreamID()
		return nil
	}
	sl := r.slot
	r.rebooted = sl.Sync == syncNone && (sl.Boot != s.env.boot || sl.Boot == "") && !sl.Clean
	c, err := readCatalogLog(s.Disk, s.State, sl.CatalogLog, sl.CatalogLogSize)
	if err != nil && r.rebooted {
		c, err = newCatalog(), nil // nothing of it was ever synced
	}
	if err != nil {
		return err
	}
	w.catalog, w.checkpoints.seq, w.checkpoints.before = c, sl.Seq, sl.Time
	c.keys.since(sl.Began)
	if c.log, c.logIncarnation, err = sl.ids(); err != nil {
		return &DamagedError{filepath.Join(s.State, checkpointName), 0, err.Error()}
	}
	if r.rebooted {
		return nil
	}
	if err := r.readFrames(); err != nil {
		return err
	}
	if err := r.syncFrames(); err != nil {
		return err
	}
	now := time.Now().UnixMicro()
	for i := range r.redo {
		c.apply(&r.redo[i], now)
	}
	return nil
}

// find finds the checkpoint's file, writes the frames' text into it and compares.
func (r *recovery) find() (f finding, err error) {
	f.others = r.hasOthers()
	if r.slot == nil {
		f.file = noCheckpoint
		return f, nil
	}
	f.rebooted, f.rotating = r.rebooted, r.slot.Rotating
	if r.name, err = r.nameNow(); err != nil {
		return f, err
	}
	path := filepath.Join(filepath.Dir(r.s.Path), r.name)
	switch {
	case r.name == "":
		f.file, r.size = fileGone, r.slot.Size
	case path == r.s.Path:
		f.file = fileAtPath
	default:
		f.file = fileElsewhere
	}
	switch {
	case f.file == fileGone:
	case r.rebooted:
		fi, err := os.Stat(path)
		if err != nil {
			return f, fmt.Errorf("find the log: %w", err)
		}
		r.size = fi.Size()
	default:
		complete := false
		if r.size, complete, err = r.rewrite(path); err != nil {
			return f, err
		}
		f.content = intact
		if !complete {
			f.content = incomplete
		} else if r.size > r.slot.Size+textSize(r.redo) {
			f.content = extended
		}
	}
	f.tailWritten = r.tailWritten()
	return f, nil
}

// nameNow returns the name that the checkpoint's file has now, "" when it is gone.
func (r *recovery) nameNow() (string, error) {
	fi, err := os.Stat(r.s.Path)
	if err == nil && disk.Inode(fi) == r.slot.Inode {
		return filepath.Base(r.s.Path), nil
	}
	return r.w.mover.find(r.slot.Inode)
}

// carryOut does what was decided.
func (r *recovery) carryOut(ctx context.Context, o outcome) (err error) {
	r.outcome = o
	if o.same {
		return r.openLive()
	}
	name := r.name // of the checkpoint's file; openLive and the notice use the new one
	if r.slot != nil && r.name == filepath.Base(r.s.Path) {
		if r.name, err = r.w.mover.move(r.slot.Inode); err != nil {
			return err
		}
	}
	if o.sealed != "" && r.name == "" {
		r.seal(stateLost)
	} else if o.sealed != "" {
		r.seal(o.sealed)
	}
	r.adopt(ctx)
	if err := r.openLive(); err != nil {
		return err
	}
	r.postNotice(o.notice, name)
	return nil
}

// postNotice posts the notice of an outcome. name is the name that the checkpoint's
// file had when it was found.
func (r *recovery) postNotice(kind, name string) {
	s, base := r.s, filepath.Base(r.s.Path)
	switch kind {
	case noticeFound:
		s.Notice("FOUND file=%s without state; its lines are kept; "+
			"agents' saved positions decide what is sent again", base)
	case noticeRebooted:
		s.Notice("REBOOTED with sync=none: lines acknowledged in the last moments before may be lost or doubled%s",
			r.newNumbers())
	case noticeInterference:
		s.Notice("INTERFERENCE file=%s generation=%d was changed or moved by another process while the "+
			"collector was down; continuing in a new file", name, r.slot.Generation)
	case noticeState:
		s.Notice("STATE older than the log: generation %d is gone, other files are there and are kept; "+
			"agents' saved positions decide what is sent again; lines=%d may be lost",
			r.slot.Generation, countAll(r.redo))
	case noticeGone:
		s.Notice("GONE file=%s generation=%d was deleted or moved away while the collector was down; "+
			"continuing in a new file", base, r.slot.Generation)
	}
}

// newNumbers is what the notice of a reboot says of files that the catalog had lost.
func (r *recovery) newNumbers() string {
	if r.adopted == 0 {
		return ""
	}
	live := r.w.file.generation
	return fmt.Sprintf("; files=%d were not in the catalog that the disk kept, and are generations %d to %d now",
		r.adopted, live-uint64(r.adopted), live-1)
}

// seal closes the checkpoint's generation in the catalog.
func (r *recovery) seal(state string) {
	for _, g := range r.w.catalog.generations {
		if g.number == r.slot.Generation {
			g.name, g.size, g.state, g.closed = r.name, r.size, state, time.Now().UTC()
			r.w.catalog.touchGeneration(g)
		}
	}
}

// makeDurable makes what was found durable, under a new epoch of the write-ahead log.
func (r *recovery) makeDurable(ctx context.Context) error {
	w, s := r.w, r.s
	if r.outcome.newIncarnation {
		w.catalog.logIncarnation = wire.NewStreamID()
		w.catalog.keys.reset(s.env.now())
		w.catalog.extensions = extensions{} // of lines that may be gone
	}
	if err := s.Disk.SyncDir(filepath.Dir(s.Path)); err != nil {
		return err
	}
	slots, err := openCheckpoints(s.Disk, s.State)
	if err != nil {
		return err
	}
	w.checkpointer = &checkpointer{disk: s.Disk, dir: s.State, slots: slots, quit: s.queue.quit, warnings: w.warnings}
	if r.slot != nil {
		w.checkpointer.catalogLogNumber = r.slot.CatalogLog
	}
	w.catalog.keys.most = s.Keys.Keys
	w.wal = &wal{size: s.env.walSize, epoch: random64()}
	if r.slot != nil {
		w.wal.lsn = r.slot.LSN
	}
	w.wal.durable = w.wal.lsn
	s.view.mu.Lock()
	s.view.catalog, s.view.size = w.catalog, w.file.size
	w.file.published = w.file.size
	s.view.mu.Unlock()
	w.checkpoints.whole = true // whatever the mode: so modes can be switched
	if err := w.checkpoint(); err != nil {
		return err
	}
	// Only now is nothing needed of the old write-ahead log.
	if w.wal.f, err = openWAL(s.Disk, s.State, s.env.walSize); err != nil {
		return err
	}
	r.sweep()
	return ctx.Err()
}

// sweep removes what interrupted steps left in the state directory.
func (r *recovery) sweep() {
	entries, _ := os.ReadDir(r.s.State)
	known := map[string]bool{filepath.Base(catalogLogName("", r.w.checkpointer.catalogLogNumber)): true}
	for _, g := range r.w.catalog.generations {
		known[filepath.Base(ledgerName("", g.number))] = true
		known[filepath.Base(summaryName("", g.number))] = true
		known[filepath.Base(marksName("", g.number))] = true
	}
	for _, e := range entries {
		name := e.Name()
		ours := strings.HasPrefix(name, "table-") || strings.HasPrefix(name, "ledger-") ||
			strings.HasPrefix(name, "summary-") || strings.HasPrefix(name, "marks-")
		if ours && !known[name] ||
			strings.HasSuffix(name, ".new") {
			os.Remove(filepath.Join(r.s.State, name)) // tried again at the next start
		}
	}
}

func random64() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}
