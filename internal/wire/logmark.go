package wire

import (
	"path/filepath"
	"regexp"
)

// LogMark is a string in the lock beside a log, and in the checkpoint in its state
// directory. It shows to an agent whose pattern matches there, over any link or mount,
// which log they belong to. For log "" it is the beginning of every mark.
func LogMark(log string) string {
	if log == "" {
		return `"log":"`
	}
	return `"log":"` + log + `"`
}

// LockName is the lock beside the log at path. It contains the process id, and in its
// second line the mark.
func LockName(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".lock")
}

// StateMark is the name of the file in a log's state directory that contains the mark.
const StateMark = "checkpoint"

// rotated matches the name of a rotated file: its time follows the name and precedes
// the extension.
var rotated = regexp.MustCompile(`^(.*)-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}(\.[^.]*)?(\.gz)?$`)

// LiveName is the path of the log before it was rotated to path, or path itself if it
// is not the name of a rotated file.
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
