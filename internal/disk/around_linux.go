package disk

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

// around is a file opened once more, for writes that leave the cache out.
type around struct {
	file  *os.File // nil: not opened
	never bool     // the file system cannot
}

// PageSize is what WriteAround needs places in memory and in the file to agree in: that of the
// system's cache, and a multiple of what disks need.
const PageSize = 4 << 10

// writeAround writes whole pages with O_DIRECT, and what is before and behind them as usual. The
// file system keeps the two apart, since no page has both.
func (f *File) writeAround(p []byte, off int64) (int, error) {
	first := int(-off & (PageSize - 1))
	last := first + (len(p)-first)&^(PageSize-1)
	if last <= first || uintptr(unsafe.Pointer(&p[first]))%PageSize != 0 || !f.around.open(f.File) {
		return f.File.WriteAt(p, off)
	}
	if n, err := f.File.WriteAt(p[:first], off); err != nil {
		return n, err
	}
	n, err := f.around.file.WriteAt(p[first:last], off+int64(first))
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EOPNOTSUPP) {
		f.around.close()
		f.around.never = true
		return f.File.WriteAt(p, off)
	}
	if err != nil {
		return first + n, err
	}
	n, err = f.File.WriteAt(p[last:], off+int64(last))
	return last + n, err
}

// open opens the file once more, and reports whether it is open. It needs /proc.
func (a *around) open(f *os.File) bool {
	if a.file == nil && !a.never {
		var err error
		a.file, err = os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_WRONLY|syscall.O_DIRECT, 0)
		a.never = err != nil
	}
	return !a.never
}

func (a *around) close() error {
	if a.file == nil {
		return nil
	}
	err := a.file.Close()
	a.file = nil
	return err
}

// Close closes the file.
func (f *File) Close() error { return cmp.Or(f.around.close(), f.File.Close()) }
