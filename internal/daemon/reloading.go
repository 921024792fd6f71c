//go:build unix

package daemon

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Reloading tells the service manager that the configuration is read again. READY=1 ends that.
func Reloading() {
	var now unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // which units of Type=notify-reload ask for
	Notify("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000))
}
