package check

import (
	"math/bits"
	"time"
)

// Delays counts delays in classes of which each is a sixteenth of a power of two wide.
type Delays struct {
	counts [64 * 16]int
	N      int
	Max    time.Duration
}

func (d *Delays) add(t time.Duration) {
	t = max(t, 0)
	d.counts[classOf(uint64(t))]++
	d.N++
	d.Max = max(d.Max, t)
}

// classOf returns the class of a number, and is monotonic.
func classOf(n uint64) int {
	if n < 16 {
		return int(n)
	}
	shift := bits.Len64(n) - 5
	return (shift+1)*16 + int(n>>shift&15)
}

// Least returns a delay that this share of all delays exceeds no more than by a sixteenth: 0.99 of
// them are shorter than Least(0.99), or about so long.
func (d *Delays) Least(share float64) time.Duration {
	want := int(share * float64(d.N))
	for class, n := range d.counts {
		if want -= n; want < 0 {
			return min(ceiling(class), d.Max)
		}
	}
	return d.Max
}

// ceiling is the first number of the next class.
func ceiling(class int) time.Duration {
	class++
	if class < 32 {
		return time.Duration(class)
	}
	return time.Duration(16+class%16) << (class/16 - 1)
}
