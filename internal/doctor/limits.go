package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Want is how much a part of the configuration asks for.
type Want struct {
	Where string // its key
	N     int64
}

// ReceiveBuffer compares net.core.rmem_max of the host with root as its root directory with
// the receive buffers that are asked for. The kernel grants no more than that, except to a process
// with CAP_NET_ADMIN.
func ReceiveBuffer(root string, wants []Want) (found []Finding) {
	const name = "net/core/rmem_max"
	most, err := sysctl(root, name)
	if err != nil {
		return nil // this system has no such limit
	}
	for _, w := range wants {
		if w.N > most {
			found = append(found, risk(w.Where, fmt.Sprintf("sysctl -w net.core.rmem_max=%d, and the same in a file "+
				"of /etc/sysctl.d", w.N), fmt.Sprintf("the receive buffer is to have %d bytes, and net.core.rmem_max "+
				"is %d: datagrams of a burst are dropped before they are read", w.N, most))...)
		}
	}
	return found
}

// OpenFiles compares how many files a process may have open with what it wants; whose names the
// process.
func OpenFiles(limit, want int, whose, remedy string) []Finding {
	if want <= limit {
		return fine(fmt.Sprintf("%d of %d", want, limit))
	}
	return risk("open files of "+whose, remedy, fmt.Sprintf("the configuration needs up to %d, and the limit is %d",
		want, limit))
}

// ProcessLimit reads how many files a running process may have open, from /proc below root.
func ProcessLimit(root string, pid int) (int, error) {
	b, err := os.ReadFile(filepath.Join(root, "proc", strconv.Itoa(pid), "limits"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
			soft, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
			if soft == "unlimited" {
				return 1 << 30, nil
			}
			return strconv.Atoi(soft)
		}
	}
	return 0, fmt.Errorf("/proc/%d/limits has no open files", pid)
}

// Inotify judges whether the kernel can report changes in this many directories. try makes one
// inotify instance and closes it.
func Inotify(root string, directories int, try func() error) (found []Finding) {
	if err := try(); err != nil {
		found = append(found, risk("fs.inotify.max_user_instances", "sysctl -w fs.inotify.max_user_instances=1024",
			fmt.Sprintf("the kernel gives this user no more watchers (%v): new lines are found when the agent looks "+
				"next", err))...)
	}
	if most, err := sysctl(root, "fs/inotify/max_user_watches"); err == nil && int64(directories) > most {
		const key = "fs.inotify.max_user_watches"
		found = append(found, risk(key, fmt.Sprintf("sysctl -w %s=%d", key, 2*directories),
			fmt.Sprintf("there are %d directories to watch, and the limit is %d: changes in the others are found when "+
				"the agent looks next", directories, most))...)
	}
	return found
}

// sysctl reads a number below /proc/sys of a root.
func sysctl(root, name string) (int64, error) {
	b, err := os.ReadFile(filepath.Join(root, "proc/sys", name))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}
