//go:build !race

package instant

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mostParts is how many parts one call has.
const mostParts = 4

// readCached reads what is in memory. ended says that there is no more in the file.
func readCached(f *os.File, offset int64, parts [][]byte) (n int, ended bool) {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	if size > most || len(parts) > mostParts {
		return 0, false
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, false
	}
	raw.Control(func(fd uintptr) { // an error comes again with a call that waits
		n, ended = readUntil(size, offset, func(n int) int { return readOnce(fd, offset+int64(n), parts, n) })
	})
	return n, ended
}

// smallestPage is what the pages of memory are a multiple of.
const smallestPage = 4 << 10

// readUntil calls once with the number of bytes that were read, until there are size of them, or once has no
// more. Linux 5.9 and 5.10 say that there is no more where a page is not in memory: that is the end only inside
// a page of which something was just read. Anywhere else an ordinary call has to confirm it.
func readUntil(size int, offset int64, once func(n int) int) (n int, ended bool) {
	for n < size {
		got := once(n)
		if got <= 0 {
			return n, got == 0 && n > 0 && (offset+int64(n))%smallestPage != 0
		}
		n += got
	}
	return n, false
}

// readOnce reads into parts, of which the first bytes are filled already. It returns -1 if it would
// have to wait, or cannot read so.
func readOnce(fd uintptr, offset int64, parts [][]byte, filled int) int {
	var vectors [mostParts]unix.Iovec
	count := 0
	for _, p := range parts {
		if filled >= len(p) {
			filled -= len(p)
			continue
		}
		vectors[count].Base = &p[filled]
		vectors[count].SetLen(len(p) - filled)
		count, filled = count+1, 0
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_PREADV2, fd, uintptr(unsafe.Pointer(&vectors)), uintptr(count),
		uintptr(offset), uintptr(uint64(offset)>>32), unix.RWF_NOWAIT)
	if errno != 0 {
		return -1
	}
	return int(n)
}
