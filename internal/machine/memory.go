// Package machine is what this process may use of the machine it runs on: memory and
// processors, less where its control group sets a limit, and how busy these are.
package machine

import (
	"os"
	"strconv"
	"strings"
)

// Memory is how many bytes this process may use: the machine's, or less if its control group
// sets a limit. 0: not known.
func Memory() int64 {
	total := memTotal()
	if limit := MemoryLimit(); limit > 0 && (total == 0 || limit < total) {
		return limit
	}
	return total
}

// MemoryLimit is the limit of the control group in bytes, 0 if there is none.
func MemoryLimit() (limit int64) {
	for text := range groupSettings("memory.max") {
		n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		if err == nil && (limit == 0 || n < limit) { // "max" is none
			limit = n
		}
	}
	return limit
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
