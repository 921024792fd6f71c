package doctor

import "fmt"

// Clock judges what the kernel says of the clock: whether something keeps it synchronised, and by
// how much it may be off, in microseconds. err is why the kernel said nothing.
func Clock(synchronised bool, maxError int64, err error) []Finding {
	const remedy = "timedatectl set-ntp true, or run chrony; in a container, on its host"
	switch {
	case err != nil:
		return risk("clock", remedy, fmt.Sprintf("whether it is synchronised is not known (%v)", err))
	case !synchronised:
		return risk("clock", remedy, "it is not synchronised: times of lines of several hosts cannot be compared, and "+
			"certificates may seem expired")
	}
	return fine(fmt.Sprintf("off by at most %d ms", maxError/1000))
}
