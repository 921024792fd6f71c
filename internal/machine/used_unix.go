//go:build unix

package machine

import (
	"syscall"
	"time"
)

// Used is how long this process was on processors.
func Used() (used time.Duration, known bool) {
	var u syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err == nil
}
