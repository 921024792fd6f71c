package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"fanin/internal/disk"
)

// keepState restores the state directory, or what is missing in it, after it was deleted;
// the saved positions are written again as usual. It is called at each look at the files, before the
// saved positions are written. It always looks whether the directory is another one, and once a second for each
// file. A directory that another agent uses by now is not touched, and this agent ends.
func (a *agent) keepState() {
	if a.lock.InPlace() && a.hasFiles() {
		return
	}
	err := a.makeState()
	if err == nil {
		a.log.Warn("the agent's state was deleted by another process; it has been restored, and nothing is lost",
			"state", a.settings.Agent.State)
		a.stateReported = time.Time{}
		return
	}
	if errors.Is(err, disk.ErrLocked) {
		a.tailer.Abandon()
		a.fail(fmt.Errorf("the state %s was deleted, and another agent uses it now: %w", a.settings.Agent.State, err))
		return
	}
	if time.Since(a.stateReported) > time.Minute {
		a.stateReported = time.Now()
		a.log.Error("the agent's state was deleted by another process and cannot be restored; if the collector "+
			"loses its state too, lines may be sent twice; trying again", "err", err)
	}
}

// hasFiles reports whether all is in the state directory, as it was within the last second.
func (a *agent) hasFiles() bool {
	if time.Since(a.stateSeen) < time.Second {
		return true
	}
	if !present(a.instancePath()) || a.control != nil && !present(a.controlPath()) {
		return false
	}
	a.stateSeen = time.Now()
	return true
}

// present reports whether something exists at path, or may exist.
func present(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func (a *agent) controlPath() string { return filepath.Join(a.settings.Agent.State, controlName) }

// makeState makes what is missing, but no directory above the state's: a file system may be
// missing there.
func (a *agent) makeState() error {
	if err := new(disk.Disk).Mkdir(a.settings.Agent.State, 0o750); err != nil {
		return err
	}
	if !a.lock.InPlace() {
		lock, err := new(disk.Disk).Lock(a.lock.Name())
		if err != nil {
			return err
		}
		a.lock.Close()
		a.lock = lock
	}
	if !a.instance.IsZero() && !present(a.instancePath()) {
		if err := writeInstance(a.instancePath(), a.instance, a.run); err != nil {
			return err
		}
	}
	if a.control != nil && !present(a.controlPath()) {
		return a.serveStatus()
	}
	return nil
}
