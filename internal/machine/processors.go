package machine

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// Processors is how many processors this process may keep busy: those that it may run on, or fewer,
// also a part of one, where its control group has a quota of their time.
func Processors() float64 {
	n := float64(runtime.GOMAXPROCS(0))
	for text := range groupSettings("cpu.max") { // as "50000 100000": microseconds, of how many
		quota, period, _ := strings.Cut(strings.TrimSpace(text), " ")
		q, err := strconv.ParseFloat(quota, 64) // "max" is none
		if p, err2 := strconv.ParseFloat(period, 64); err == nil && err2 == nil && q > 0 && p > 0 {
			n = min(n, q/p)
		}
	}
	return n
}

// Idle returns how long all processors of the machine were idle or waited for a disk, of how
// long in all, in ticks (proc(5)). It is known on Linux only.
func Idle() (idle, all int64, known bool) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, false
	}
	line, _, _ := bytes.Cut(b, []byte{'\n'})
	fields := bytes.Fields(line)
	if len(fields) < 9 || string(fields[0]) != "cpu" {
		return 0, 0, false
	}
	for i, f := range fields[1:9] { // guests are in user time
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return 0, 0, false
		}
		all += n
		if i == 3 || i == 4 {
			idle += n
		}
	}
	return idle, all, true
}
