package wire

import (
	"path/filepath"
	"regexp"
)

// LogMark is a line in the lock beside a log and in the lock of its state
// directory. It says whose they are to an agent that a pattern leads there, over
// whatever link or mount.
func LogMark(log string) string { return "fanin log " + log }

// LockName is the lock beside the log at path.
func LockName(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".lock")
}

// StateLock is the name of the lock in a log's state directory.
const StateLock = "lock"

// rotated is the name of a file that was the log once: its time is behind the
// name, and before the extension.
var rotated = regexp.MustCompile(`^(.*)-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}(\.[^.]*)?(\.gz)?$`)

// LiveName is the path that the log had before it was rotated to path; path
// itself, if it is no name of a rotated file.
func LiveName(path string) string {
	if m := rotated.FindStringSubmatch(filepath.Base(path)); m != nil {
		return filepath.Join(filepath.Dir(path), m[1]+m[2])
	}
	return path
}
