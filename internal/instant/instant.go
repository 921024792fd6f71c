// Package instant makes system calls that end at once, without a word to Go's scheduler. The
// scheduler expects of each other call that it may wait, and wakes a thread that watches for that.
// In a process that is quiet, that thread costs more than the call.
package instant

import (
	"io"
	"os"
)

// most is how much is read at once: more takes longer than a processor may be withheld from others.
const most = 64 << 10

// ReadAt is os.File's, into several parts, one behind the other. What the system has in memory comes
// at once; only the rest waits for the disk.
func ReadAt(f *os.File, offset int64, parts ...[]byte) (n int, err error) {
	n, ended := readCached(f, offset, parts)
	skip := n
	for _, p := range parts {
		if skip >= len(p) {
			skip -= len(p)
			continue
		}
		if ended {
			return n, io.EOF
		}
		got, err := f.ReadAt(p[skip:], offset+int64(n))
		if n, skip = n+got, 0; err != nil {
			return n, err
		}
	}
	return n, nil
}
