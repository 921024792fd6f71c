package machine

import (
	"iter"
	"os"
	"path"
	"strings"
)

// Where the kernel shows control groups, and which one this process is in (cgroups(7), version 2).
var (
	groupsDir = "/sys/fs/cgroup"
	groupFile = "/proc/self/cgroup"
)

// groupSettings yields what one file says in this process's control group and in each group above
// it: all of their limits hold. A container sees its own group as the root. Elsewhere a service of
// systemd is some levels down, and the root has no such file.
func groupSettings(file string) iter.Seq[string] {
	return func(yield func(string) bool) {
		b, err := os.ReadFile(groupFile)
		if err != nil {
			return
		}
		for line := range strings.Lines(string(b)) {
			group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::/")
			for ok {
				b, err := os.ReadFile(path.Join(groupsDir, group, file))
				if err == nil && !yield(string(b)) {
					return
				}
				if group == "" {
					break
				}
				group, _ = path.Split(group)
				group = strings.TrimSuffix(group, "/")
			}
		}
	}
}
