package sink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"fanin/internal/disk"
	"fanin/internal/wire"
	"fanin/sink/archive"
)

// locate is the log that path names. A link to a file is followed and kept: the
// log is what it leads to, and is rotated, locked and kept account of there. So a
// log has one set of locks and one state by whatever name it is opened.
func locate(path string) (string, error) {
	if path == "" {
		return "", errors.New("the log has no path")
	}
	if strings.HasSuffix(path, string(filepath.Separator)) {
		return "", &disk.KindError{Path: path, Is: "the name of a directory", Want: "a regular file"}
	}
	abs, err := filepath.Abs(path)
	if err == nil {
		abs, err = disk.Target(abs)
	}
	if err != nil {
		return "", fmt.Errorf("path of the log: %w", err)
	}
	return abs, nil
}

// StateDir is the default directory for the state of the log at path: hidden, beside it.
func StateDir(path string) string {
	if own, err := locate(path); err == nil {
		path = own
	}
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".fanin")
}

// checkKinds refuses, before anything is touched, what the log and its state cannot be.
func (s *Sink) checkKinds() error {
	if err := disk.Regular(s.Path); err != nil {
		return fmt.Errorf("path of the log: %w", err)
	}
	// A dangling link is a mistake, unless the log existed already: then it was deleted,
	// or a crash interrupted its rotation, and it is created again.
	if to, err := os.Readlink(s.own.named); err == nil && !exists(s.Path) && !exists(wire.LockName(s.Path)) {
		return fmt.Errorf("path of the log: %w",
			&disk.KindError{Path: s.own.named, Is: "a link to " + to + ", which is not there", Want: "a regular file"})
	}
	if n := len("." + filepath.Base(s.Path) + "-" + backupTime + archive.TempSuffix); n > maxName {
		return fmt.Errorf("path of the log: the name %s is too long: rotated files need names of %d bytes, and "+
			"the limit is %d",
			filepath.Base(s.Path), n, maxName)
	}
	if filepath.Dir(s.Path) == s.State && ownName(filepath.Base(s.Path)) {
		return fmt.Errorf("path of the log: the state directory needs a file named %s; "+
			"choose another name or another directory for the log", s.Path)
	}
	if err := disk.Directory(filepath.Dir(s.Path)); err != nil {
		return fmt.Errorf("directory of the log: %w", err)
	}
	if err := disk.Regular(wire.LockName(s.Path)); err != nil {
		return fmt.Errorf("lock of the log: %w", err)
	}
	return s.checkState()
}

// checkState does the same for the state directory.
func (s *Sink) checkState() error {
	if err := disk.Directory(s.State); err != nil {
		return fmt.Errorf("state of the log: %w", err)
	}
	entries, err := os.ReadDir(s.State)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("state of the log: %w", err)
	}
	for _, e := range entries {
		if !ownName(e.Name()) {
			continue
		}
		if err := disk.Regular(filepath.Join(s.State, e.Name())); err != nil {
			return fmt.Errorf("state of the log: %w", err)
		}
	}
	return nil
}

// maxName is how long a file's name may be on every usual file system.
const maxName = 255

// ownName reports whether a file of this name in the state directory is the log's.
func ownName(name string) bool {
	return name == walName || name == checkpointName || name == outlinesName || name == "lock" ||
		strings.HasPrefix(name, "table-") || strings.HasPrefix(name, "ledger-") || strings.HasPrefix(name, "summary-")
}

// lock keeps other collectors from the log and from the state, both: either
// could be shared by mistake. The log is locked by its name and as the file that it
// is, which has other names where links or mounts lead to it.
func (s *Sink) lock() error {
	if err := s.checkKinds(); err != nil {
		return err
	}
	for _, dir := range []string{filepath.Dir(s.Path), s.State} {
		if err := s.Disk.MkdirAll(dir, s.Modes.Dir); err != nil {
			return fmt.Errorf("make the directory: %w", err)
		}
	}
	for _, path := range []string{wire.LockName(s.Path), filepath.Join(s.State, "lock")} {
		f, err := s.Disk.Lock(path)
		if err != nil {
			s.unlock()
			return s.lockError(err)
		}
		s.own.locks = append(s.own.locks, f)
	}
	f, err := s.Disk.Open(s.Path, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		s.own.probe = f
		err = f.LockFile()
	}
	if err != nil {
		s.unlock()
		return s.lockError(err)
	}
	return nil
}

// markLock writes into the lock file beside the log which log it belongs to: see
// wire.LogMark. The log works without it, too.
func (s *Sink) markLock(f *disk.File, log wire.StreamID) {
	if _, err := f.WriteAt(fmt.Appendf(nil, "%d\n{%s}\n", os.Getpid(), wire.LogMark(log.String())), 0); err != nil {
		s.Log.Warn("cannot mark the log as this collector's; an agent whose patterns match it might send it to "+
			"this collector", "err", err)
	}
}

func (s *Sink) lockError(err error) error {
	if errors.Is(err, disk.ErrLocked) {
		return fmt.Errorf("only one collector may write the log %s: %w", s.Path, err)
	}
	return fmt.Errorf("lock the log %s: %w", s.Path, err)
}

// lockFile takes the lock on a live file, which its descriptor keeps.
func (s *Sink) lockFile(f *file) error {
	if s.own.probe != nil {
		s.own.probe.Close()
		s.own.probe = nil
	}
	if err := f.f.LockFile(); err != nil {
		f.f.Close()
		return s.lockError(err)
	}
	return nil
}

func (s *Sink) unlock() {
	for _, f := range append(s.own.locks, s.own.probe) {
		if f != nil {
			f.Close()
		}
	}
	s.own.locks, s.own.probe = nil, nil
}

// Check reports what Open would refuse, and changes nothing. It looks at what is
// there now: another process may change it before Open does.
func (s *Sink) Check(ctx context.Context) error {
	if err := s.defaults(); err != nil {
		return err
	}
	if err := s.checkKinds(); err != nil {
		return err
	}
	var problems []error
	for _, dir := range []string{filepath.Dir(s.Path), s.State} {
		problems = append(problems, disk.Usable(dir))
	}
	for _, path := range []string{wire.LockName(s.Path), filepath.Join(s.State, "lock"), s.Path} {
		if err := disk.Locked(path); err != nil {
			return s.lockError(err)
		}
	}
	if problems = append(problems, s.writable()...); errors.Join(problems...) == nil {
		problems = append(problems, s.diagnose())
	}
	return errors.Join(append(problems, ctx.Err())...)
}

// writable reports which of the log's own files cannot be written to.
func (s *Sink) writable() (problems []error) {
	paths := []string{s.Path, wire.LockName(s.Path)}
	entries, _ := os.ReadDir(s.State) // kinds has read it
	for _, e := range entries {
		if ownName(e.Name()) {
			paths = append(paths, filepath.Join(s.State, e.Name()))
		}
	}
	for _, path := range paths {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err == nil {
			f.Close()
		} else if !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, err)
		}
	}
	return problems
}
