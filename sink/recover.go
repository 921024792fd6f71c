package sink

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	lumberjack "gopkg.in/natefinch/lumberjack.v2"

	"fanin/internal/disk"
	"fanin/internal/wire"
	"fanin/sink/archive"
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
	w := &writer{s: s, done: make(chan error, 1), last: time.Now(), limited: make(map[string]time.Time)}
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
	unsafe := sl.Sync == syncNone && (sl.Boot != r.s.boot || sl.Boot == "") && !sl.Clean
	if err != nil && unsafe {
		c, err = newCatalog(), nil // nothing of it was ever synced
	}
	if err != nil {
		return err
	}
	w.catalog, w.seq = c, sl.Seq
	if c.log, c.incarnation, err = sl.ids(); err != nil {
		return &DamagedError{filepath.Join(r.s.State, slotName), 0, err.Error()}
	}
	w.before = sl.Time
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

// readFrames reads the frames behind the checkpoint.
func (r *recovery) readFrames() error {
	path := filepath.Join(r.s.State, walName)
	f, err := r.s.Disk.Open(path, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) && (r.slot.Clean || r.slot.Head == 0) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || fi.Size() != r.slot.WALSize {
		if r.slot.Head == 0 {
			return nil // it was being made when the machine stopped, and holds nothing yet
		}
		return &DamagedError{path, 0, fmt.Sprintf("the write-ahead log should have %d bytes", r.slot.WALSize)}
	}
	wr := &walReader{f: f, path: path, size: r.slot.WALSize, life: r.slot.Life, lsn: r.slot.LSN, head: r.slot.Head}
	for {
		fr, err := wr.next()
		if err != nil || fr == nil {
			r.slot.LSN = wr.lsn
			return err
		}
		if fr.generation != r.slot.Generation {
			return &DamagedError{path, wr.head % wr.size, fmt.Sprintf("a frame of generation %d behind a checkpoint of generation %d", fr.generation, r.slot.Generation)}
		}
		r.late = slices.DeleteFunc(r.late, func(l lateFrame) bool { return l.lsn <= fr.durable })
		r.late = append(r.late, lateFrame{fr.lsn, wr.place, slices.Clone(wr.buf)})
		fr.text = append([]byte(nil), fr.text...)
		r.redo = append(r.redo, *fr)
	}
}

// lateFrame is a frame that no later one calls durable, as it stands in the ring.
type lateFrame struct {
	lsn   uint64
	place int64
	raw   []byte
}

// keepFrames makes the last frames durable before the log's file gets their text:
// a process that was killed between a write and its sync leaves them in the page
// cache. If the power is cut before the first checkpoint, the file must not hold
// what no frame tells of. They are written again, for after a failed sync the
// cache says of bytes that they are on the disk, and they are not.
func (r *recovery) keepFrames() error {
	if len(r.late) == 0 {
		return nil
	}
	f, err := r.s.Disk.Open(filepath.Join(r.s.State, walName), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, l := range r.late {
		if _, err := f.WriteAt(l.raw, l.place); err != nil {
			return fmt.Errorf("write the write-ahead log again: %w", err)
		}
	}
	r.late = nil
	return f.Sync()
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

// rewrite writes the frames' text into the file where it belongs. It returns
// the file's size then; whole says that all of the text is in it.
func (r *recovery) rewrite(path string) (size int64, whole bool, err error) {
	f, err := r.s.Disk.Open(path, os.O_RDWR, 0) // its own descriptor: pwrite into an O_APPEND one appends
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return 0, false, err
	}
	if fi.Size() < r.slot.Size {
		return fi.Size(), len(r.redo) == 0, nil // truncated: what is gone, somebody destroyed
	}
	at := r.slot.Size
	for i := range r.redo {
		if same, err := ours(f, r.redo[i].text, at); err != nil {
			return 0, false, err
		} else if !same {
			landed, err := r.landedBehind(f)
			return fi.Size(), landed, err
		}
		at += int64(len(r.redo[i].text))
	}
	at = r.slot.Size
	for i := range r.redo {
		if err := r.put(f, r.redo[i].text, at); err != nil {
			return 0, false, err
		}
		at += int64(len(r.redo[i].text))
	}
	if err := f.Sync(); err != nil {
		return 0, false, fmt.Errorf("sync the log: %w", err)
	}
	return max(fi.Size(), at), true, nil
}

// put writes text at a place, for as long as it takes to find the room.
func (r *recovery) put(f *disk.File, text []byte, at int64) error {
	for {
		_, err := f.WriteAt(text, at)
		if err == nil || !disk.IsFull(err) {
			return err
		}
		if err := r.w.pause(err); err != nil {
			return err
		}
	}
}

// ours reports whether the file holds, at a place, a part of text or zeros.
func ours(f io.ReaderAt, text []byte, at int64) (bool, error) {
	have := make([]byte, len(text))
	n, err := f.ReadAt(have, at)
	if err != nil && err != io.EOF {
		return false, fmt.Errorf("read the log: %w", err)
	}
	for i, c := range have[:n] {
		if c != text[i] && c != 0 {
			return false, nil
		}
	}
	return true, nil
}

// landedBehind reports whether the frames' text stands behind bytes that
// somebody else appended first: it was written, only not at its place.
func (r *recovery) landedBehind(f *disk.File) (bool, error) {
	var text []byte
	for i := range r.redo {
		text = append(text, r.redo[i].text...)
	}
	fi, err := f.Stat()
	if err != nil {
		return false, err
	}
	behind := make([]byte, fi.Size()-r.slot.Size)
	if _, err := f.ReadAt(behind, r.slot.Size); err != nil && err != io.EOF {
		return false, fmt.Errorf("read the log: %w", err)
	}
	return strings.Contains(string(behind), string(text)), nil
}

// adopt keeps files of the log that no generation names: the live one is moved
// aside, backups are taken as they are. It reports whether there were lines.
func (r *recovery) adopt(ctx context.Context) bool {
	w := r.w
	dir := filepath.Dir(r.s.Path)
	if fi, err := os.Stat(r.s.Path); err == nil && fi.Size() > 0 {
		w.mover.move(disk.Inode(fi)) // on failure live says so
	}
	known := make(map[string]bool)
	next := uint64(1)
	for _, g := range w.catalog.generations {
		known[g.name] = true
		next = max(next, g.number+1)
	}
	entries, _ := os.ReadDir(dir) // by name, which is by time
	found := false
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil || !w.mover.isBackup(e.Name()) || known[e.Name()] {
			continue
		}
		g := &generation{number: next, name: e.Name(), inode: disk.Inode(fi), size: fi.Size(), state: statePlain, opened: fi.ModTime().UTC(), closed: fi.ModTime().UTC()}
		if strings.HasSuffix(e.Name(), ".gz") {
			if known[strings.TrimSuffix(e.Name(), ".gz")] {
				continue // the janitor made it and was not done
			}
			g.state = stateGzip
			if a, err := archive.Open(ctx, r.s.Disk, filepath.Join(dir, e.Name())); err == nil {
				g.size = a.Size() // of its text; one that cannot be read says so when it is read
				a.Close()
			}
		}
		w.catalog.add(g)
		next, found = next+1, true
	}
	return found
}

// live opens the live file: the one the checkpoint names, if nothing spoke
// against it, or the first of a new generation, not below least.
func (r *recovery) live(least uint64) error {
	w := r.w
	var own *generation
	for _, g := range w.catalog.generations {
		least = max(least, g.number+1)
		if r.slot != nil && g.number == r.slot.Generation && g.state == stateLive {
			own = g
		}
	}
	if own == nil && len(r.tail) > 0 {
		if err := r.plant(); err != nil {
			return err
		}
	}
	f, err := r.s.openFile()
	if err != nil {
		return err
	}
	if err := r.s.own(f); err != nil {
		return err
	}
	w.file = f
	if own != nil {
		f.generation, f.opened = own.number, own.opened
		r.bookkeep(r.redo, r.slot.Size, r.slot.Ledger)
		return nil
	}
	if f.size > 0 && len(r.tail) == 0 {
		f.f.Close()
		return fmt.Errorf("%s holds lines that could not be moved aside; move the file away and start again", r.s.Path)
	}
	f.generation = max(least, 1)
	w.catalog.add(&generation{number: f.generation, name: filepath.Base(r.s.Path), inode: f.inode, state: stateLive, opened: f.opened.UTC()})
	r.bookkeep(r.tail, 0, 0)
	return nil
}

// bookkeep makes the ledger say where the frames' text is: from position on.
func (r *recovery) bookkeep(frames []frame, position, ledger int64) {
	for i := range frames {
		for _, rec := range frames[i].records {
			rec.position = position
			position += int64(rec.length)
			r.w.ledger = rec.append(r.w.ledger)
		}
	}
	r.w.ledSize = ledger + int64(len(r.w.ledger))
}

// plant begins the live file with the tail. The file gets its name only when all
// of it is there and durable, so that after another crash planted can tell.
func (r *recovery) plant() error {
	var text []byte
	for i := range r.tail {
		text = append(text, r.tail[i].text...)
	}
	return r.s.Disk.WriteFile(r.s.Path, text, r.s.Mode)
}

// planted reports whether the live file begins with the frames' text: then an
// earlier start planted it, and was cut off before its checkpoint.
func (r *recovery) planted() bool {
	n := textSize(r.redo)
	b, err := os.ReadFile(r.s.Path)
	if err != nil || n == 0 || int64(len(b)) < n {
		return false
	}
	for i := range r.redo {
		if !bytes.HasPrefix(b, r.redo[i].text) {
			return false
		}
		b = b[len(r.redo[i].text):]
	}
	return true
}

// settle makes what was found out durable, under a new life of the write-ahead
// log, and writes again what has no file yet.
func (r *recovery) settle(ctx context.Context) error {
	w, s := r.w, r.s
	if r.fresh {
		w.catalog.incarnation = wire.NewStreamID()
	}
	if err := s.Disk.SyncDir(filepath.Dir(s.Path)); err != nil {
		return err
	}
	slots, err := openSlots(s.Disk, s.State)
	if err != nil {
		return err
	}
	w.keeper = &checkpointer{disk: s.Disk, dir: s.State, slots: slots, quit: s.quit, log: s.Log}
	if r.slot != nil {
		w.keeper.tableN = r.slot.Table
	}
	w.wal = &wal{size: s.walSize, life: random64()}
	if r.slot != nil {
		w.wal.lsn = r.slot.LSN
	}
	w.wal.durable = w.wal.lsn
	s.mu.Lock()
	s.catalog, s.size = w.catalog, w.file.size
	w.file.shown = w.file.size
	s.mu.Unlock()
	w.whole = true // whatever the mode: so modes can be switched
	if err := w.checkpoint(); err != nil {
		return err
	}
	// Only now is nothing needed of the old write-ahead log.
	if w.wal.f, err = openWAL(s.Disk, s.State, s.walSize); err != nil {
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
	known := map[string]bool{filepath.Base(tableName("", r.w.keeper.tableN)): true}
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

func textSize(frames []frame) (n int64) {
	for i := range frames {
		n += int64(len(frames[i].text))
	}
	return n
}

func countAll(frames []frame) (lines int) {
	for i := range frames {
		for _, r := range frames[i].records {
			lines += int(r.lines)
		}
	}
	return lines
}

func random64() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}
