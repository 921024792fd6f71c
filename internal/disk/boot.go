package disk

import (
	"os"
	"strings"
)

// BootID names this run of the machine: what was not synced and was written in
// another one may be gone. "" is not known, and no other run is the same.
func BootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
