package tail

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
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
	if err := CheckHead(path, head); err != nil {
		return err
	}
	if len(head) > 0 && f.size() == 0 {
		return errMadeUp
	}
	return nil
}

// HeadSize is how many first bytes of a file decide whether it is a log.
const HeadSize = headSize

// CheckHead refuses a file that is not a log, by its first bytes, HeadSize of them if there
// are as many.
func CheckHead(path string, head []byte) error {
	for _, x := range formats {
		if bytes.HasPrefix(head, []byte(x.magic)) && !startsText(head) {
			return &unfit{"its content is " + x.what + ", not lines of text"}
		}
	}
	if len(head) > tarMagic && bytes.HasPrefix(head[tarMagic:], []byte("ustar")) {
		return &unfit{"its content is a tar archive of files, not lines of text: unpack it first"}
	}
	if bytes.IndexByte(head, 0) >= 0 && slices.Contains(databases, filepath.Base(path)) {
		return &unfit{"it is a database of logins, not lines of text"}
	}
	return nil
}

// tarMagic is where the header of a tar archive has its magic (POSIX ustar).
const tarMagic = 257

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
	t.noteRefusal(path, err.Error())
	if t.warnOnce(path, fmt.Sprintf("not followed: %v", err)) {
		t.counts.unfit.Add(1)
	}
}

// noteRefusal notes why a file is not followed; "": it is.
func (t *Tailer) noteRefusal(path, reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.unfollowed == nil {
		t.unfollowed = make(map[string]string)
	}
	if t.unfollowed[path] = reason; reason == "" {
		delete(t.unfollowed, path)
	}
}

// Unfollowed returns why files are not followed that a table names and that exist, by path.
func (t *Tailer) Unfollowed() map[string]string {
	t.mu.Lock()
	all := maps.Clone(t.unfollowed)
	t.mu.Unlock()
	for path := range all {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			t.noteRefusal(path, "")
			delete(all, path)
		}
	}
	return all
}

func isUnfit(err error) bool {
	var u *unfit
	return errors.As(err, &u)
}
