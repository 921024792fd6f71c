//go:build !unix

package daemon

import "time"

func usedTime() (used time.Duration, known bool) { return 0, false }
