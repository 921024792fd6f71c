//go:build !unix

package machine

import "time"

// Used is how long this process was on processors. It is not known here.
func Used() (used time.Duration, known bool) { return 0, false }
