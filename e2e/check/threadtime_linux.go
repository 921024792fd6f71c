package check

import (
	"time"

	"golang.org/x/sys/unix"
)

// threadTime is the CPU time of this thread so far.
func threadTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_THREAD, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
