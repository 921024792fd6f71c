package daemon

import (
	"os"
	"strconv"
	"strings"
)

// Memory is how many bytes this process may use: the machine's, or less if its control group
// sets a limit. 0: not known.
func Memory() int64 {
	total := memTotal()
	if limit := groupLimit(); limit > 0 && (total == 0 || limit < total) {
		return limit
	}
	return total
}

// memTotal reads the machine's memory from /proc/meminfo.
func memTotal() int64 {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" && f[2] == "kB" {
			n, _ := strconv.ParseInt(f[1], 10, 64) // 0 is not known
			return n << 10
		}
	}
	return 0
}

// groupLimit is the memory limit of the control group, 0 if there is none.
func groupLimit() int64 {
	b, err := os.ReadFile("/sys/fs/cgroup/memory.max")
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64) // "max" is none
	return n
}

// groupMost is how much of the control group's limit is used, 0 if it has none.
func groupMost() int64 { return groupLimit() / 10 * 9 }
