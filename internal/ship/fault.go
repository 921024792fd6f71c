package ship

import (
	"strings"
	"time"
	"unicode"

	"fanin/internal/wire"
)

// fault is a collector's refusal of a session.
type fault struct {
	reason string
	wait   time.Duration
}

// maxFaultWait is how long a collector can keep an agent away.
const maxFaultWait = 5 * time.Minute

// errDrained ends a session whose collector stops. A collector is back soon.
var errDrained = &fault{"it stops", time.Second}

// newFault reads a fault frame. Its text reaches terminals, and its time is a number of the
// peer's: both are limited.
func newFault(f *wire.Frame) *fault {
	reason := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, f.Reason)
	return &fault{reason, time.Duration(min(max(f.N, 0), int64(maxFaultWait/time.Second))) * time.Second}
}

func (f *fault) Error() string { return "the collector refused the session: " + f.reason }
