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

// recover opens the log. Whatever was told to anybody before must be true
// again before anything new is told, and must then survive a power cut in the
// very next moment: frames read back after kill -9 may be in the page cache
// only. So it runs: make the last frames durable; redo; sync the file and its
// directory; make the slots durable; checkpoint under a new life of the write-ahead
// log; and only then does the writer start.
//
// Redo only extends our own bytes: the file must be the one the checkpoint
// names, hold at least what it held then, and from there on a part of what the
// frames say, or zeros, which is what a power cut leaves of unwritten pages. It
// writes all of it again, also what seems to be there: after a failed sync, the
// cache says so of bytes that are not on the disk. Anything else means that
// somebody else was at the file: it is kept as it is, and what is missing from
// it begins the next generation.
func (s *Sink) recover(ctx context.Context) (*writer, error) {
	w := &writer{s: s, checkpoints: checkpoints{done: make(chan error, 1), last: time.Now()}, warnings: retry.NewLog(s.Log)}
	w.group.streams, w.group.added = make(map[wire.StreamID]bool), make(map[scope]int)
	var err error
	if w.layout, err = line.NewLayout(s.Format); err != nil {
		return w, err
	}
	w.mover = mover{path: s.Path, log: &lumberjack.Logger{Filename: s.Path, MaxSize: 1 << 30}}
	w.mover.keepSpare(true)
	r := &recovery{w: w, s: s}
	if r.slot, err = readSlot(s.State); err != nil {
		return w, err
	}
	if r.slot == nil {
		err = r.first(ctx)
	} else {
		err = r.again(ctx)
	}
	if err != nil {
		return w, err
	}
	return w, r.settle(ctx)
}

// recovery is what opening a log finds out.
type recovery struct {
	w     *writer
	s     *Sink
	slot  *slot // the newest checkpoint; nil: there is no state
	redo  []frame
	late  []lateFrame // of those, what may be in the page cache only
	fresh bool        // the log's state is lost or older than its file: a new incarnation
	tail  []frame
	say   []string // notices, for when the log is open
}

func (r *recovery) notice(format string, args ...any) {
	r.say = append(r.say, fmt.Sprintf(format, args...))
}

// first begins a log without state. Lines that are there already are kept as
// generations of their own.
func (r *recovery) first(ctx context.Context) error {
	c := newCatalog()
	c.log = wire.NewStreamID()
	r.w.catalog, r.fresh = c, true
	if r.adopt(ctx) {
		r.notice("FOUND file=%s without state; its lines are kept; agents' marks decide what is sent again", filepath.Base(r.s.Path))
	}
	return r.live(0)
}

// again opens a log from its checkpoint and the frames behind it.
func (r *recovery) again(ctx context.Context) error {
	w, sl := r.w, r.slot
	c, err := readTable(r.s.Disk, r.s.State, sl.Table, sl.TableSize)
	unsafe := sl.Sync == syncNone && (sl.Boot != r.s.env.boot || sl.Boot == "") && !sl.Clean
	if err != nil && unsafe {
		c, err = newCatalog(), nil // nothing of it was ever synced
	}
	if err != nil {
		return err
	}
	w.catalog, w.checkpoints.seq = c, sl.Seq
	c.keys.since(sl.Began)
	if c.log, c.incarnation, err = sl.ids(); err != nil {
		return &DamagedError{filepath.Join(r.s.State, slotName), 0, err.Error()}
	}
	w.checkpoints.before = sl.Time
	if unsafe {
		return r.rebooted(ctx)
	}
	if err := r.readFrames(); err != nil {
		return err
	}
	if err := r.keepFrames(); err != nil {
		return err
	}
	now := time.Now().UnixMicro()
	for i := range r.redo {
		c.apply(&r.redo[i], now)
	}
	return r.extend(ctx)
}

// rebooted goes on after a reboot in mode none: what the write-ahead log holds
// may be newer or older than the file, so nothing is redone.
func (r *recovery) rebooted(ctx context.Context) error {
	r.fresh = true
	r.notice("REBOOTED with sync=none: lines acknowledged in the last moments before may be lost or doubled")
	name := r.name()
	if name == filepath.Base(r.s.Path) {
		var err error
		if name, err = r.w.mover.move(r.slot.Inode); err != nil {
			return err
		}
	}
	r.sealFound(name)
	r.adopt(ctx)
	return r.live(r.slot.Generation + 1)
}

// sealFound closes the checkpoint's generation as the file called name, "" if
// there is none.
func (r *recovery) sealFound(name string) {
	fi, err := os.Stat(filepath.Join(filepath.Dir(r.s.Path), name))
	if name == "" || err != nil {
		r.seal("", r.slot.Size, stateLost)
		return
	}
	r.seal(name, fi.Size(), statePlain)
}

// extend brings the file of the checkpoint's generation up to the last frame,
// and decides whether the log goes on in it.
func (r *recovery) extend(ctx context.Context) error {
	w, sl := r.w, r.slot
	name := r.name()
	if name == "" {
		return r.gone(ctx)
	}
	path := filepath.Join(filepath.Dir(r.s.Path), name)
	size, whole, err := r.rewrite(path)
	if err != nil {
		return err
	}
	if !whole && !r.planted() {
		r.tail = r.redo
	}
	own := path == r.s.Path
	end := sl.Size + textSize(r.redo)
	if own && whole && size <= end {
		return r.live(sl.Generation)
	}
	if !sl.Rotating || !whole || size > end {
		r.fresh = true
		r.notice("INTERFERENCE file=%s generation=%d was changed or moved by another process while the collector was down; going on in a new file", name, sl.Generation)
	}
	if own {
		if name, err = w.mover.move(sl.Inode); err != nil {
			return err
		}
	}
	r.seal(name, size, statePlain)
	r.adopt(ctx)
	return r.live(sl.Generation + 1)
}

// name is what the checkpoint's file is called now, "" when it is gone. The
// inode proves it only together with a size that it must have.
func (r *recovery) name() string {
	for _, name := range []string{filepath.Base(r.s.Path), r.w.mover.find(r.slot.Inode)} {
		fi, err := os.Stat(filepath.Join(filepath.Dir(r.s.Path), name))
		if name != "" && err == nil && disk.Inode(fi) == r.slot.Inode {
			return name
		}
	}
	return ""
}

// gone goes on without the checkpoint's file. If nothing at all is there, the
// log was deleted, and what its last frames hold is written again. If other
// files are, the state may be older than they are, and then they hold it.
func (r *recovery) gone(ctx context.Context) error {
	sl := r.slot
	r.fresh = true
	r.seal("", sl.Size, stateLost)
	if r.planted() {
		r.adopt(ctx)
	} else if r.adopt(ctx) {
		r.notice("STATE older than the log: generation %d is gone, other files are there and are kept; agents' marks decide what is sent again; lines=%d may be lost",
			sl.Generation, countAll(r.redo))
	} else {
		r.tail = r.redo
		r.notice("GONE file=%s generation=%d was deleted or moved away while the collector was down; going on in a new file", filepath.Base(r.s.Path), sl.Generation)
	}
	return r.live(sl.Generation + 1)
}

// seal closes the checkpoint's generation in the catalog.
func (r *recovery) seal(name string, size int64, state string) {
	for _, g := range r.w.catalog.generations {
		if g.number == r.slot.Generation {
			g.name, g.size, g.state, g.closed = name, size, state, time.Now().UTC()
			r.w.catalog.touchGeneration(g)
		}
	}
}

// settle makes what was found out durable, under a new life of the write-ahead
// log, and writes again what has no file yet.
func (r *recovery) settle(ctx context.Context) error {
	w, s := r.w, r.s
	if r.fresh {
		w.catalog.incarnation = wire.NewStreamID()
		w.catalog.keys.reset(s.env.now())
		w.catalog.extensions = extensions{} // of lines that may be gone
	}
	if err := s.Disk.SyncDir(filepath.Dir(s.Path)); err != nil {
		return err
	}
	slots, err := openSlots(s.Disk, s.State)
	if err != nil {
		return err
	}
	w.checkpointer = &checkpointer{disk: s.Disk, dir: s.State, slots: slots, quit: s.queue.quit, warnings: w.warnings}
	if r.slot != nil {
		w.checkpointer.tableN = r.slot.Table
	}
	w.catalog.keys.most = s.Keys.Keys
	w.wal = &wal{size: s.env.walSize, life: random64()}
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
	for _, text := range r.say {
		s.Notice("%s", text)
	}
	return ctx.Err()
}

// sweep removes what interrupted steps left in the state directory.
func (r *recovery) sweep() {
	entries, _ := os.ReadDir(r.s.State)
	known := map[string]bool{filepath.Base(tableName("", r.w.checkpointer.tableN)): true}
	for _, g := range r.w.catalog.generations {
		known[filepath.Base(ledgerName("", g.number))] = true
	}
	for _, e := range entries {
		name := e.Name()
		if (strings.HasPrefix(name, "table-") || strings.HasPrefix(name, "ledger-")) && !known[name] || strings.HasSuffix(name, ".new") {
			os.Remove(filepath.Join(r.s.State, name)) // tried again at the next start
		}
	}
}

func random64() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}
