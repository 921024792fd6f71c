//go:build unix

package daemon

import (
	"syscall"
	"time"
)

// usedTime is how long the process was on processors.
func usedTime() (used time.Duration, known bool) {
	var u syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err == nil
}
