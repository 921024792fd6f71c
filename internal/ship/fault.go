package ship

import (
	"strings"
	"time"
	"unicode"

	"fanin/internal/wire"
)

// fault is the collector's word that it wants no connection now.
type fault struct {
	reason string
	wait   time.Duration
}

// longestFault is how long a collector can keep an agent away.
const longestFault = 5 * time.Minute

// errDrained ends a session whose collector is going down. It comes back soon.
var errDrained = &fault{"it is going down", time.Second}

// newFault takes the frame's word, as far as it can be believed: its text goes to
// terminals, and its time is somebody else's number.
func newFault(f *wire.Frame) *fault {
	reason := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, f.Reason)
	return &fault{reason, time.Duration(min(max(f.N, 0), int64(longestFault/time.Second))) * time.Second}
}

func (f *fault) Error() string { return "the collector says: " + f.reason }
