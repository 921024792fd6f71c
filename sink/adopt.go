package sink

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"fanin/internal/disk"
	"fanin/sink/archive"
)

// hasOthers reports whether there are files with lines that no generation names: a
// live file that is not the checkpoint's, or backups.
func (r *recovery) hasOthers() bool {
	if fi, err := os.Stat(r.s.Path); err == nil && fi.Size() > 0 && (r.slot == nil || disk.Inode(fi) != r.slot.Inode) {
		return true
	}
	return len(r.unknownBackups()) > 0
}

// unknownBackups returns the rotated files that no generation names, by name, which is
// by time.
func (r *recovery) unknownBackups() (unknown []fs.FileInfo) {
	known := make(map[string]*generation)
	for _, g := range r.w.catalog.generations {
		known[g.name] = g
	}
	entries, _ := os.ReadDir(filepath.Dir(r.s.Path))
	for _, e := range entries {
		if !r.w.mover.isBackup(e.Name()) || known[e.Name()] != nil {
			continue
		}
		if fi, err := e.Info(); err == nil && !r.inCatalog(fi) && !r.isSibling(fi, known) {
			unknown = append(unknown, fi)
		}
	}
	return unknown
}

// isSibling reports whether a file is another form of one that the catalog has: the janitor did not finish, or
// another process packs or unpacks it.
func (r *recovery) isSibling(fi fs.FileInfo, known map[string]*generation) bool {
	plain, packed := strings.CutSuffix(fi.Name(), archive.Suffix)
	if packed {
		return known[plain] != nil
	}
	g := known[plain+archive.Suffix]
	return g != nil && (fi.Size() >= g.size || exists(filepath.Join(filepath.Dir(r.s.Path), g.name)))
}

// inCatalog reports whether fi is the checkpoint's file, and the catalog has it: after a
// reboot the catalog may be lost.
func (r *recovery) inCatalog(fi fs.FileInfo) bool {
	return r.slot != nil && disk.Inode(fi) == r.slot.Inode &&
		slices.ContainsFunc(r.w.catalog.generations, func(g *generation) bool { return g.number == r.slot.Generation })
}

// adopt keeps files of the log that no generation names: a live file with lines is
// moved aside, backups are taken as they are.
func (r *recovery) adopt(ctx context.Context) {
	w := r.w
	if fi, err := os.Stat(r.s.Path); err == nil && fi.Size() > 0 {
		w.mover.move(disk.Inode(fi)) // on failure openLive reports it
	}
	next := r.nextNumber()
	for _, fi := range r.unknownBackups() {
		g := &generation{number: next, name: fi.Name(), inode: disk.Inode(fi), size: fi.Size(), state: statePlain,
			opened: fi.ModTime().UTC(), closed: fi.ModTime().UTC()}
		if strings.HasSuffix(g.name, archive.Suffix) {
			g.state = stateGzip
			if a, err := archive.Open(ctx, r.s.Disk, filepath.Join(filepath.Dir(r.s.Path), g.name)); err == nil {
				g.size = a.Size() // of its text; a reader reports one that cannot be read
				a.Close()
			}
		}
		w.catalog.add(g)
		next++
		r.adopted++
	}
}

// openLive opens the live file: the checkpoint's, or the first of a new generation.
func (r *recovery) openLive() error {
	if !r.outcome.same {
		return r.openNew()
	}
	if err := r.openFile(); err != nil {
		return err
	}
	f := r.w.file
	f.generation = r.slot.Generation
	for _, g := range r.w.catalog.generations {
		if g.number == f.generation {
			f.opened = g.opened
		}
	}
	r.rebuildLedger(r.redo, r.slot.Size, r.slot.Ledger)
	return nil
}

// openNew begins a new generation, with the frames' text if no file has that.
func (r *recovery) openNew() error {
	w := r.w
	errInTheWay := fmt.Errorf("%s holds lines that could not be moved aside; move the file away and start again",
		r.s.Path)
	if fi, err := os.Stat(r.s.Path); err == nil && fi.Size() > 0 {
		return errInTheWay
	}
	var tail []frame
	if r.outcome.tail && len(r.redo) > 0 {
		tail = r.redo
		if err := r.writeTail(); err != nil {
			return err
		}
	}
	if err := r.openFile(); err != nil {
		return err
	}
	f := w.file
	if f.size > 0 && len(tail) == 0 {
		return errInTheWay
	}
	f.generation = r.nextNumber()
	w.catalog.add(&generation{number: f.generation, name: filepath.Base(r.s.Path), inode: f.inode,
		state: stateLive, opened: f.opened.UTC()})
	r.rebuildLedger(tail, 0, 0)
	return nil
}

// nextNumber is the number of the next generation: behind all that this log has had, so that a
// position never becomes that of other bytes. After a reboot in mode none, the checkpoint and the
// catalog may be older than the log was. But the names of the ledgers are durable in each mode, and
// a generation has no line before its ledger has its name.
func (r *recovery) nextNumber() uint64 {
	last := uint64(0)
	for _, g := range r.w.catalog.generations {
		last = max(last, g.number)
	}
	if r.slot != nil {
		last = max(last, r.slot.Generation)
	}
	if r.rebooted {
		last = max(last, lastLedger(r.s.State))
	}
	return last + 1
}

// openFile opens and locks the live file. The writer closes it.
func (r *recovery) openFile() error {
	f, err := r.s.openFile()
	if err != nil {
		return err
	}
	if err := r.s.lockFile(f); err != nil {
		return err
	}
	r.w.file = f
	return nil
}

// rebuildLedger puts the frames' records into the ledger, for text from position on.
func (r *recovery) rebuildLedger(frames []frame, position, ledger int64) {
	for i := range frames {
		for _, rec := range frames[i].records {
			rec.position = position
			position += int64(rec.length)
			r.w.ledger.records = rec.append(r.w.ledger.records)
		}
	}
	r.w.ledger.size = ledger + int64(len(r.w.ledger.records))
}

// writeTail begins the live file with the frames' text. The file gets its name only
// when all of it is written and durable, so that tailWritten can tell after another crash.
func (r *recovery) writeTail() error {
	var text []byte
	for i := range r.redo {
		text = append(text, r.redo[i].text...)
	}
	return r.s.Disk.WriteFile(r.s.Path, text, r.s.Modes.File)
}

// tailWritten reports whether the live file begins with the frames' text: then an
// earlier start wrote it, and ended before its checkpoint.
func (r *recovery) tailWritten() bool {
	if textSize(r.redo) == 0 {
		return false
	}
	f, err := os.Open(r.s.Path)
	if err != nil {
		return false
	}
	defer f.Close()
	var have []byte
	for i := range r.redo {
		text := r.redo[i].text
		have = slices.Grow(have[:0], len(text))[:len(text)]
		if _, err := io.ReadFull(f, have); err != nil || !bytes.Equal(have, text) {
			return false
		}
	}
	return true
}
