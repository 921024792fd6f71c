package sink

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"fanin/internal/disk"
	"fanin/sink/archive"
)

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
	if err := r.s.lockFile(f); err != nil {
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
			r.w.ledger.records = rec.append(r.w.ledger.records)
		}
	}
	r.w.ledger.size = ledger + int64(len(r.w.ledger.records))
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
