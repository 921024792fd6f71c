package tail

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
)

// unfit is why a file is not followed.
type unfit struct{ reason string }

func (e *unfit) Error() string { return e.reason }

// databases are written by login programs: records, not lines.
var databases = []string{"lastlog", "wtmp", "btmp", "utmp", "faillog", "tallylog"}

// formats begin with bytes with which no line of text begins.
var formats = []struct{ magic, what string }{
	{"\x1f\x8b", "gzip"}, {"\x28\xb5\x2f\xfd", "zstd"}, {"\xfd7zXZ\x00", "xz"}, {"BZh", "bzip2"},
	{"\x04\x22\x4d\x18", "lz4"},
	{"LPKSHHRH", "a journal of systemd"}, {"SQLite format 3\x00", "an SQLite database"},
}

// checkFit refuses a file that is not a log, by what it begins with or how it behaves. Of an
// empty file nothing is known.
func (f *file) checkFit(path string) error {
	head := f.head(headSize)
	for _, x := range formats {
		if bytes.HasPrefix(head, []byte(x.magic)) && !startsText(head) {
			return &unfit{"its content is " + x.what + ", not lines of text"}
		}
	}
	if bytes.IndexByte(head, 0) >= 0 && slices.Contains(databases, filepath.Base(path)) {
		return &unfit{"it is a database of logins, not lines of text"}
	}
	if len(head) > 0 && f.size() == 0 {
		return errMadeUp
	}
	return nil
}

// startsText reports whether the magic number may be the beginning of a line after all.
func startsText(head []byte) bool {
	line, _, ok := bytes.Cut(head, []byte{'\n'})
	return ok && !slices.ContainsFunc(line, func(c byte) bool { return c < ' ' && c != '\t' && c != '\r' || c >= 0x7f })
}

// errMadeUp: the next read may return other bytes at the same place, so no place can be
// remembered.
var errMadeUp = &unfit{"its size is 0, yet it can be read: its content is generated when it is read"}

// refuse reports once that a file is not followed, and why.
func (t *Tailer) refuse(path string, err error) {
	if t.warnOnce(path, fmt.Sprintf("not followed: %v", err)) {
		t.counts.unfit.Add(1)
	}
}

func isUnfit(err error) bool {
	var u *unfit
	return errors.As(err, &u)
}
