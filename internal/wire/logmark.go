package wire

import (
	"path/filepath"
	"regexp"
)

// LogMark is in the lock beside a log, and in the checkpoint in its state directory.
// It says whose they are to an agent that a pattern leads there, over whatever link
// or mount. "": the beginning of every mark.
func LogMark(log string) string {
	if log == "" {
		return `"log":"`
	}
	return `"log":"` + log + `"`
}

// LockName is the lock beside the log at path. It holds the process, and in its
// second line the mark.
func LockName(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".lock")
}

// StateMark is the name of the file in a log's state directory that bears the mark.
const StateMark = "checkpoint"

// rotated is the name of a file that was the log once: its time is behind the
// name, and before the extension.
var rotated = regexp.MustCompile(`^(.*)-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}(\.[^.]*)?(\.gz)?$`)

// LiveName is the path that the log had before it was rotated to path; path
// itself, if it is no name of a rotated file.
func LiveName(path string) string {
	m := rotated.FindStringSubmatch(filepath.Base(path))
	switch {
	case m == nil:
		return path
	case m[2] == ".gz": // the archive of a log without an extension
		return filepath.Join(filepath.Dir(path), m[1])
	}
	return filepath.Join(filepath.Dir(path), m[1]+m[2])
}
