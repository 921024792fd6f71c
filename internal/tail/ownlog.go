package tail

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"fanin/internal/disk"
	"fanin/internal/wire"
)

// checkOwn refuses a file whose lines would be logged again: a file of the log that they are
// sent to, or one that belongs to the collector or to this agent. The locks beside the log
// and in the collector's state identify such files, through any link or mount of a
// directory. A file that is reached by another name is recognized by its device and inode,
// on the same boot of the same machine, and then by the log's bytes at the place that the
// welcome names: a cloned machine has the same numbers.
func (t *Tailer) checkOwn(f *file, path string) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		real = path
	}
	dir := filepath.Dir(real)
	if _, below := within(realPath(t.State), dir); below || sameDirectory(dir, t.State) {
		return &unfit{"it is in this agent's own state directory"}
	}
	w, _ := t.session.last()
	if w == nil && !t.Lossy {
		return nil // nothing is sent before a welcome
	}
	base := filepath.Base(real)
	if strings.HasPrefix(base, ".") && strings.HasSuffix(base, ".lock") && isMarked(real, nil) {
		return &unfit{"it is the lock of a collector's log"}
	}
	locks := []string{wire.LockName(real), wire.LockName(wire.LiveName(real)), filepath.Join(dir, wire.StateMark)}
	for _, lock := range locks {
		if isMarked(lock, w) {
			return &unfit{fmt.Sprintf("it belongs to the log that its lines are sent to, according to %s: "+
				"each line would be logged again", lock)}
		}
	}
	if w != nil && f.isNamed(&w.About) {
		return &unfit{"it is a file of the log that its lines are sent to, under another name: " +
			"each line would be logged again"}
	}
	return nil
}

// IsLogOfCollector reports whether the locks beside a file say that it belongs to the log of some
// collector.
func IsLogOfCollector(path string) bool {
	real := realPath(path)
	return isMarked(wire.LockName(real), nil) || isMarked(wire.LockName(wire.LiveName(real)), nil)
}

func sameDirectory(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil || b == "" {
		return false
	}
	two, err := os.Stat(b)
	return err == nil && os.SameFile(one, two)
}

// isMarked reports whether a lock, or a checkpoint, belongs to the log that welcomed this
// agent. Over UDP there is no welcome, so any log may be the one.
func isMarked(lock string, w *wire.Welcome) bool {
	f, err := os.Open(lock)
	if err != nil {
		return false
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, 8<<10)) // not on the stack, which each follower's would keep
	log := ""
	if w != nil {
		log = w.Log.String()
	}
	return bytes.Contains(b, []byte(wire.LogMark(log)))
}

// isNamed reports whether a welcome names f as a file of the log.
func (f *file) isNamed(a *wire.About) bool {
	fi, err := f.f.Stat()
	if err != nil || a.Boot == "" || a.Boot != disk.BootID() {
		return false
	}
	for _, x := range a.Files {
		if x.Inode == disk.Inode(fi) && x.Device == disk.Device(fi) && f.holds(x.Point) {
			return true
		}
	}
	return false
}
