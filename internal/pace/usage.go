package pace

import (
	"time"

	"fanin/internal/machine"
)

// usage is how busy the processors are.
type usage struct {
	idle, all int64         // for how long those of the machine were idle, of how long, in ticks
	used      time.Duration // by this process
	may       float64       // how many processors this process may keep busy
	known     bool
}

func readUsage() (u usage) {
	var machineKnown, usedKnown bool
	u.idle, u.all, machineKnown = machine.Idle()
	u.used, usedKnown = machine.Used()
	u.may = machine.Processors()
	u.known = machineKnown && usedKnown
	return u
}

// free is the share of the processors that was idle since an earlier look: of the machine's, and of
// what this process may use, the smaller.
func (u usage) free(earlier usage, passed time.Duration) float64 {
	ofMachine := float64(u.idle-earlier.idle) / float64(max(u.all-earlier.all, 1))
	ofMine := 1 - float64(u.used-earlier.used)/(u.may*float64(passed))
	return min(ofMachine, ofMine)
}
