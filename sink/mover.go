package sink

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	lumberjack "gopkg.in/natefinch/lumberjack.v2"

	"fanin/internal/disk"
)

// mover moves the live file aside under lumberjack's well-known name, by
// lumberjack itself. What can go wrong there is kept from going wrong here: a
// second rotation in the same millisecond would overwrite a backup, so a name
// must be free first; and without free descriptors the file would be moved and
// no new one made, so one is held in reserve. What really happened is then read
// from the inodes, not from an error.
type mover struct {
	path  string
	log   *lumberjack.Logger // one for ever: each leaves a goroutine behind
	spare []*os.File
}

// backupTime is lumberjack's layout of the time in a backup's name.
const backupTime = "2006-01-02T15-04-05.000"

// nameWindow is how long after the check a name must still be free: the time
// that lumberjack may need to get to its rename.
const nameWindow = 20 * time.Millisecond

var errNotMoved = errors.New("the file could not be moved aside")

// move moves the file with this inode from path to a backup, and returns the
// backup's base name. The caller syncs the directory. errNotMoved: it is where it was. After
// another error it was moved, and its name is not known.
func (m *mover) move(inode uint64) (string, error) {
	if fi, err := os.Stat(m.path); err != nil || disk.Inode(fi) != inode {
		return "", fmt.Errorf("%w: %s is not the file that is written to", errNotMoved, m.path)
	}
	m.freeName()
	m.keepSpare(false)
	err := m.log.Rotate()
	m.log.Close()
	defer m.keepSpare(true)
	if fi, serr := os.Stat(m.path); serr == nil && disk.Inode(fi) == inode {
		return "", fmt.Errorf("%w: %v", errNotMoved, err)
	}
	return m.find(inode)
}

// freeName waits until no backup, plain or compressed, bears a name that the
// next milliseconds could produce. After a clock was set back, old ones may be taken.
func (m *mover) freeName() {
	for {
		now := time.Now()
		taken := false
		for t := now; t.Sub(now) <= nameWindow && !taken; t = t.Add(time.Millisecond) {
			name := m.backup(t)
			taken = exists(name) || exists(name+".gz")
		}
		if !taken {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// backup is the name that lumberjack uses at t.
func (m *mover) backup(t time.Time) string {
	prefix, ext := m.affixes()
	return filepath.Join(filepath.Dir(m.path), prefix+t.UTC().Format(backupTime)+ext)
}

func (m *mover) affixes() (prefix, ext string) { return affixes(m.path) }

func affixes(path string) (prefix, ext string) {
	base := filepath.Base(path)
	ext = filepath.Ext(base)
	return strings.TrimSuffix(base, ext) + "-", ext
}

func (m *mover) isBackup(name string) bool { return isBackup(m.path, name) }

// isBackup reports whether name is one that lumberjack gives to files of the log at path, compressed or not.
func isBackup(path, name string) bool {
	prefix, ext := affixes(path)
	name, ok := strings.CutPrefix(strings.TrimSuffix(name, ".gz"), prefix)
	if !ok || !strings.HasSuffix(name, ext) {
		return false
	}
	_, err := time.Parse(backupTime, strings.TrimSuffix(name, ext))
	return err == nil
}

// find returns the name that an inode has in the log's directory now, "" if
// none. It needs a descriptor, which may be one of those in reserve.
func (m *mover) find(inode uint64) (string, error) {
	if len(m.spare) > 0 {
		m.keepSpare(false)
		defer m.keepSpare(true)
	}
	return findInode(filepath.Dir(m.path), inode)
}

// findInode returns the name that an inode has in a directory now, "" if none. The latest backups, whose names come
// last, are looked at first.
func findInode(dir string, inode uint64) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("find the log's file: %w", err)
	}
	for _, e := range slices.Backward(entries) {
		if !e.Type().IsRegular() {
			continue
		}
		switch fi, err := e.Info(); {
		case err == nil && disk.Inode(fi) == inode:
			return e.Name(), nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("find the log's file: %w", err)
		}
	}
	return "", nil
}

// keepSpare holds two descriptors in reserve, or frees them for lumberjack.
func (m *mover) keepSpare(hold bool) {
	for _, f := range m.spare {
		f.Close()
	}
	m.spare = m.spare[:0]
	for hold && len(m.spare) < 2 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return
		}
		m.spare = append(m.spare, f)
	}
}
