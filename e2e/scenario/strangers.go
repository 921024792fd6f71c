package scenario

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"fanin/e2e/load"
	"fanin/sink"
)

// Interference moves the live file away, now and then with a word, as logrotate
// does. Nothing is destroyed, so nothing may be missing.
func (p *Programs) Interference(n int) (*Result, error) {
	d, err := p.begin(plan{name: "moved by others", log: rotating})
	if err != nil {
		return nil, err
	}
	return d.rounds(n, func(i int) error {
		moment(60 * time.Millisecond)
		err := os.Rename(d.collector.Log, fmt.Sprintf("%s.moved%d", d.collector.Log, i))
		if i%2 == 0 {
			d.collector.Signal(syscall.SIGUSR1)
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil // it was just being rotated, or had not come back yet
		}
		return err
	})
}

// Destruction deletes, truncates, appends to and replaces the live file. What is
// not in the log may only be missing because it was destroyed, and what others
// wrote stays as it is.
func (p *Programs) Destruction(n int) (*Result, error) {
	d, err := p.begin(plan{name: "destroyed by others", log: rotating, strangers: true})
	if err != nil {
		return nil, err
	}
	acts := []func(i int) error{d.deleteLog, d.truncateLog, d.appendToLog, d.replaceLog}
	r, err := d.rounds(n, func(i int) error {
		moment(60 * time.Millisecond)
		// Stopped, so that it is known exactly what is destroyed.
		d.collector.Pause()
		defer d.collector.Signal(syscall.SIGCONT)
		err := acts[i%len(acts)](i)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	})
	if err == nil && !r.Says("^INTERFERENCE ") {
		err = fmt.Errorf("%s: the log does not say so: %q", r.Name, r.Said)
	}
	return r, err
}

// aside names a file outside of the log's directory.
func (d *day) aside(i int) string {
	dir := filepath.Join(d.dir, "destroyed")
	os.MkdirAll(dir, 0o750)
	return filepath.Join(dir, fmt.Sprint(i))
}

// deleteLog deletes the live file, whose inode is kept to be read at the end:
// the collector may write to it before it notices.
func (d *day) deleteLog(i int) error {
	aside := d.aside(i)
	if err := os.Link(d.collector.Log, aside); err != nil {
		return err
	}
	d.destroyed = append(d.destroyed, aside)
	return os.Remove(d.collector.Log)
}

func (d *day) truncateLog(i int) error {
	f, err := os.OpenFile(d.collector.Log, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	to, err := os.Create(d.aside(i))
	if err != nil {
		return err
	}
	defer to.Close()
	if _, err := io.Copy(to, f); err != nil {
		return err
	}
	d.destroyed = append(d.destroyed, to.Name())
	return f.Truncate(0)
}

// foreign is a line that another process writes into the log.
func (d *day) foreign(i int) []byte {
	d.intruded[intruderSources+i] = 1
	return load.Append([]byte("2026-01-01T00:00:00.000000Z another process: "), intruderSources+i, 0)
}

func (d *day) appendToLog(i int) error {
	f, err := os.OpenFile(d.collector.Log, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || fi.Size() == 0 {
		return err
	}
	_, err = f.Write(d.foreign(i))
	return err
}

// replaceLog puts another file in the place of the live one. An empty one, here
// and above, may be half-way through a rotation, and lumberjack truncates what it
// then finds there.
func (d *day) replaceLog(i int) error {
	moved := fmt.Sprintf("%s.moved%d", d.collector.Log, i)
	if err := os.Rename(d.collector.Log, moved); err != nil {
		return err
	}
	if fi, err := os.Stat(moved); err != nil || fi.Size() == 0 {
		return err
	}
	return os.WriteFile(d.collector.Log, d.foreign(i), 0o640)
}

// unlisted are backups that the log does not name before its next start: a file
// that was put into the live one's place while that was just being moved away.
func (d *day) unlisted() (paths []string, err error) {
	generations, err := sink.Generations(d.collector.Log, d.collector.State)
	if err != nil {
		return nil, err
	}
	all, err := filepath.Glob(filepath.Join(d.logDir, "all-*.log"))
	for _, path := range all {
		if !slices.ContainsFunc(generations, func(g sink.Generation) bool { return g.Name == filepath.Base(path) }) {
			paths = append(paths, path)
		}
	}
	return paths, err
}
