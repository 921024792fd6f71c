package rig

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process has used so far, as /proc says.
type Usage struct {
	CPU       time.Duration // user and system
	RSS, Peak int64         // bytes of memory
}

// UsageOf is that of a process. What cannot be read is 0.
func UsageOf(pid int) (u Usage) {
	const tick = time.Second / 100 // USER_HZ, wherever Go runs on Linux
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])); len(fields) > 12 {
		for _, field := range fields[11:13] { // utime, stime
			ticks, _ := strconv.Atoi(field)
			u.CPU += time.Duration(ticks) * tick
		}
	}
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch name {
		case "VmRSS":
			u.RSS = kib << 10
		case "VmHWM":
			u.Peak = kib << 10
		}
	}
	return u
}
