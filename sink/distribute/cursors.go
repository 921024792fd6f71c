package distribute

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/tinylib/msgp/msgp"

	"fanin/internal/disk"
	"fanin/internal/retry"
)

// cursors saves the positions of the groups. Two files, work/cursors-0 and
// work/cursors-1 in the state directory, are written in turn and in place, so that a
// torn one leaves the other. Little endian:
//
//	0 magic "fCUR" · 4 CRC32C of everything from byte 8 to the end of the body · 8 seq, 8 bytes
//	16 id of the log, 16 bytes · 32 length of the body · 36 body, MessagePack: an array of groups
//	  group   [name, generation, offset, [span, ...], [letter, ...],
//	           accepted, redelivered, dead, expired, bytes of dead letters]
//	  span    [generation, from, to, lines, attempts]            handed out, not finished
//	  letter  [generation, from, to, lines, attempts, reason, worker, time in microseconds]
//
// A worker is told that its answer was accepted only after the file with the answer is
// durable (in mode none: written). So an accepted line never goes out again.
type cursors struct {
	d        *Distributor
	dir      string
	files    [2]*disk.File
	seq      uint64 // of the newest file
	sync     bool
	soon     chan struct{}   // save in a moment
	requests chan chan error // save now
	forced   atomic.Bool     // save although no group has changed
	lost     bool            // both files were damaged
}

const (
	cursorsMagic  = "fCUR"
	cursorsHeader = 36
	workDir       = "work"
)

// How long answers are gathered before they are saved together.
const (
	gatherDurable = 5 * time.Millisecond
	gatherWritten = time.Millisecond
	gatherShare   = 8 // times as long as the last save took
	maxGather     = 250 * time.Millisecond
)

// lookEvery is how often a check finds out that the files were deleted, while nothing is
// written to them.
const lookEvery = time.Second

// openCursors loads the groups, and opens the files.
func openCursors(d *Distributor) (*cursors, error) {
	c := &cursors{d: d, dir: filepath.Join(d.sink.State, workDir), sync: d.sink.Sync == "commit",
		soon: make(chan struct{}, 1), requests: make(chan chan error)}
	if err := CheckState(d.sink.State); err != nil {
		return nil, err
	}
	newest, err := c.readNewest()
	if err != nil {
		return nil, err
	}
	if newest != nil {
		if err := c.load(newest); err != nil {
			return nil, err
		}
	}
	if c.lost {
		d.sink.Notice("CURSORS file=%s reason=%q", c.path(0),
			"both files are damaged: groups begin at the start of the log, and finished lines are handed out again")
	}
	if err := c.open(); err != nil {
		return nil, err
	}
	if newest != nil {
		if err := c.keep(newest); err != nil {
			return nil, fmt.Errorf("write %s again: %w", c.path(int(c.seq%2)), err)
		}
	}
	return c, nil
}

// readNewest reads the newer of the files that are not damaged, and sets seq and lost.
func (c *cursors) readNewest() (newest []byte, err error) {
	found := 0
	for i := range c.files {
		b, err := disk.ReadFile(c.path(i))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err == nil && len(b) > 0 {
			found++
		}
		if seq, ok := checkCursors(b); ok && (newest == nil || seq > c.seq) {
			newest, c.seq = b, seq
		}
	}
	c.lost = newest == nil && found == len(c.files)
	return newest, nil
}

// open opens both files, creates the directory if necessary, and closes the files that
// were open before.
func (c *cursors) open() error {
	k := c.d.sink
	if err := k.Disk.MkdirAll(c.dir, k.Modes.Dir); err != nil {
		return err
	}
	for i := range c.files {
		f, err := k.Disk.Open(c.path(i), os.O_RDWR|os.O_CREATE, k.Modes.File)
		if err != nil {
			return err
		}
		if c.files[i] != nil {
			c.files[i].Close()
		}
		c.files[i] = f
	}
	return k.Disk.SyncDir(c.dir)
}

// CheckState returns an error if something in a state directory cannot be the files of
// the groups. It changes nothing.
func CheckState(state string) error {
	dir := filepath.Join(state, workDir)
	if err := disk.Directory(dir); err != nil {
		return fmt.Errorf("state of the groups: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("state of the groups: %w", err)
	}
	for _, e := range entries {
		if err := disk.Regular(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("state of the groups: %w", err)
		}
	}
	return nil
}

// keep makes durable what was read: after a kill between a write and its sync, it is in
// the page cache only. The next write overwrites the other file, and until that is
// durable this one is all there is.
func (c *cursors) keep(b []byte) error {
	f := c.files[c.seq%2]
	if _, err := f.WriteAt(b, 0); err != nil || !c.sync {
		return err
	}
	return f.Sync()
}

func (c *cursors) path(i int) string { return filepath.Join(c.dir, fmt.Sprintf("cursors-%d", i)) }

func (c *cursors) close() error { return errors.Join(c.files[0].Close(), c.files[1].Close()) }

// checkCursors reports whether b is complete, and returns its sequence number.
func checkCursors(b []byte) (seq uint64, ok bool) {
	le := binary.LittleEndian
	if len(b) < cursorsHeader || string(b[:4]) != cursorsMagic {
		return 0, false
	}
	if uint64(le.Uint32(b[32:])) > uint64(len(b)-cursorsHeader) {
		return 0, false
	}
	end := cursorsHeader + int(le.Uint32(b[32:]))
	return le.Uint64(b[8:]), disk.Checksum(b[8:end]) == le.Uint32(b[4:])
}

// load makes the groups that are in b.
func (c *cursors) load(b []byte) error {
	if id := c.d.sink.LogID(); !bytes.Equal(b[16:32], id[:]) {
		c.d.sink.Notice("CURSORS file=%s reason=%q", c.path(int(c.seq%2)),
			"they belong to another log and are ignored: groups begin anew")
		return nil
	}
	end := cursorsHeader + int(binary.LittleEndian.Uint32(b[32:]))
	groups, err := decodeGroups(b[cursorsHeader:end])
	if err != nil {
		return fmt.Errorf("%s: %w", c.path(int(c.seq%2)), err)
	}
	x := &c.d.groups
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, s := range groups {
		x.byName[s.name] = s.restore(c.d)
	}
	return nil
}

// saveSoon has the groups saved in a moment.
func (d *Distributor) saveSoon() {
	select {
	case d.cursors.soon <- struct{}{}:
	default:
	}
}

// flush saves the groups and waits until they are.
func (c *cursors) flush(ctx context.Context) error {
	saved := make(chan error, 1)
	select {
	case c.requests <- saved:
	case <-ctx.Done():
		return fmt.Errorf("save the positions of the groups: %w", ctx.Err())
	case <-c.d.ctx.Done():
		return ErrClosed
	}
	select {
	case err := <-saved:
		return err
	case <-ctx.Done():
		return fmt.Errorf("save the positions of the groups: %w", ctx.Err())
	}
}

// run saves the groups whenever they changed, until ctx ends.
func (c *cursors) run(ctx context.Context) {
	gather := gatherWritten
	if c.sync {
		gather = gatherDurable
	}
	var took time.Duration
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			if !c.files[0].InPlace() || !c.files[1].InPlace() {
				c.forced.Store(true)
				c.d.saveSoon()
			}
		case <-c.soon:
			retry.Pause(ctx, max(gather, min(gatherShare*took, maxGather))) // the writer needs the disk more
			begun := time.Now()
			err := c.save(ctx)
			took = time.Since(begun)
			if err != nil {
				c.d.warnings.Warn("cursors", "cannot save the positions of the groups; "+
					"no answer is accepted before that; trying again", "err", err)
				retry.Pause(ctx, time.Second)
				c.d.saveSoon()
			}
		case request := <-c.requests:
			request <- c.save(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// save saves all groups if one changed. Then it tells workers which answers are accepted,
// and writes the lines that have become dead letters.
func (c *cursors) save(ctx context.Context) error {
	groups := c.d.groups.all()
	body, saving := c.collect(groups)
	if body == nil {
		return nil
	}
	if err := c.write(body); err != nil {
		for i, g := range groups {
			g.mu.Lock()
			g.unsaved, g.dirty = append(saving[i], g.unsaved...), true
			g.mu.Unlock()
		}
		return err
	}
	var errs []error
	for i, g := range groups {
		g.confirmSaved(saving[i])
		errs = append(errs, g.writeDeadLetters(ctx))
		g.rotateDead()
	}
	return errors.Join(errs...)
}

// collect takes what is to be saved from the groups, and the answers that are accepted
// with it. A nil body: nothing has changed.
func (c *cursors) collect(groups []*group) (body []byte, saving [][]acceptance) {
	saving = make([][]acceptance, len(groups))
	dirty := c.forced.Swap(false)
	body = msgp.AppendArrayHeader(nil, uint32(len(groups)))
	for i, g := range groups {
		g.mu.Lock()
		saving[i], g.unsaved = g.unsaved, nil
		dirty = dirty || g.dirty
		g.dirty = false
		for _, l := range g.dead.pending {
			l.saved = true
		}
		body = g.stateLocked().append(body)
		g.mu.Unlock()
	}
	if !dirty {
		return nil, nil
	}
	return body, saving
}

// encodeCursors returns body with the header before it.
func encodeCursors(seq uint64, log [16]byte, body []byte) []byte {
	le := binary.LittleEndian
	b := make([]byte, cursorsHeader, cursorsHeader+len(body))
	copy(b, cursorsMagic)
	le.PutUint64(b[8:], seq)
	copy(b[16:], log[:])
	le.PutUint32(b[32:], uint32(len(body)))
	b = append(b, body...)
	le.PutUint32(b[4:], disk.Checksum(b[8:]))
	return b
}

// write writes body to the older file.
func (c *cursors) write(body []byte) error {
	b := encodeCursors(c.seq+1, c.d.sink.LogID(), body)
	f := c.files[(c.seq+1)%2]
	if !f.InPlace() { // the state directory was deleted; each write has everything
		if err := c.open(); err != nil {
			return fmt.Errorf("create the deleted files again: %w", err)
		}
		f = c.files[(c.seq+1)%2]
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		return err
	}
	if c.sync {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	c.seq++
	return nil
}
