package access

import (
	"fmt"
	"os"
	"time"

	"fanin/internal/disk"
)

// tokensFile is a file of tokens that is read again when it changes. It keeps what it has while
// the file cannot be used.
type tokensFile struct {
	path   string
	tokens []Token
	err    error // why the file as it is now cannot be used
	seen   stamp
}

// stamp is how a file looked before it was read.
type stamp struct {
	size     int64
	inode    uint64
	modified time.Time
	settled  bool // a change in the same tick of the clock cannot have been missed
}

// readTokens reads a file. Every user may see the hashes in it, but not every user may change them.
func readTokens(path string) ([]Token, error) {
	b, err := disk.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	fi, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	if fi.Mode().Perm()&0o002 != 0 {
		return nil, fmt.Errorf("tokens %s can be changed by every user (mode %04o): chmod 0640 %s", path,
			fi.Mode().Perm(), path)
	}
	tokens, err := ParseTokens(string(b))
	if err != nil {
		return nil, fmt.Errorf("tokens %s: %w", path, err)
	}
	return tokens, nil
}

// look reads the file if it changed since, and reports whether the tokens, or why it cannot be
// used, may have changed.
func (f *tokensFile) look(now time.Time) (changed bool) {
	s := stampOf(f.path, now)
	if f.seen.settled && s.size == f.seen.size && s.inode == f.seen.inode && s.modified.Equal(f.seen.modified) {
		return false
	}
	f.seen = s
	tokens, err := readTokens(f.path)
	if err == nil {
		f.tokens = tokens
	}
	f.err = err
	return true
}

// steps is how long a file's time may stand still while the file changes, on any file system.
const steps = 3 * time.Second

// stampOf is how a file looks now; the zero stamp if it is not there.
func stampOf(path string, now time.Time) (s stamp) {
	fi, err := os.Stat(path)
	if err != nil {
		return stamp{settled: true}
	}
	age := now.Sub(fi.ModTime())
	return stamp{fi.Size(), disk.Inode(fi), fi.ModTime(), age > steps || age < -steps}
}
