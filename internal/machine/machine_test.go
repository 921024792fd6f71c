package machine

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// groups makes control groups with these files, and puts this process into one of them.
func groups(t *testing.T, in string, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "self")
	if err := os.WriteFile(file, []byte(in), 0o644); err != nil {
		t.Fatal(err)
	}
	was, wasFile := groupsDir, groupFile
	groupsDir, groupFile = dir, file
	t.Cleanup(func() { groupsDir, groupFile = was, wasFile })
}

// TestGroupLimits: the limits of this process's control group hold, and those of the groups above it.
func TestGroupLimits(t *testing.T) {
	all := float64(runtime.GOMAXPROCS(0))
	for _, c := range []struct {
		name, in   string
		files      map[string]string
		memory     int64
		processors float64
	}{
		{name: "a container, which sees its group as the root", in: "0::/\n",
			files: map[string]string{"memory.max": "536870912\n", "cpu.max": "50000 100000\n"}, memory: 512 << 20, processors: 0.5},
		{name: "a service", in: "0::/system.slice/fanin-collector.service\n", files: map[string]string{
			"system.slice/fanin-collector.service/memory.max": "1048576\n",
			"system.slice/fanin-collector.service/cpu.max":    "max 100000\n",
			"system.slice/memory.max":                         "max\n",
			"system.slice/cpu.max":                            "max 100000\n",
		}, memory: 1 << 20, processors: all},
		{name: "a slice with less", in: "0::/a.slice/b.service\n", files: map[string]string{
			"a.slice/b.service/memory.max": "2097152\n",
			"a.slice/memory.max":           "1048576\n",
			"a.slice/b.service/cpu.max":    "max 100000\n",
			"a.slice/cpu.max":              "25000 100000\n",
		}, memory: 1 << 20, processors: 0.25},
		{name: "version 1 beside it", in: "4:memory:/a\n1:cpu:/a\n0::/a\n", files: map[string]string{"a/memory.max": "4096\n"}, memory: 4096, processors: all},
		{name: "more than the machine has", in: "0::/\n", files: map[string]string{"cpu.max": "99900000 100000\n"}, processors: all},
		{name: "version 1 alone", in: "4:memory:/a\n1:cpu:/a\n", files: map[string]string{"memory.max": "1\n"}, processors: all},
		{name: "not to be understood", in: "0::/\n", files: map[string]string{"cpu.max": "0 0\n", "memory.max": "much\n"}, processors: all},
		{name: "no groups", processors: all},
	} {
		t.Run(c.name, func(t *testing.T) {
			groups(t, c.in, c.files)
			if got := MemoryLimit(); got != c.memory {
				t.Errorf("memory %d, want %d", got, c.memory)
			}
			if got := Processors(); got != c.processors {
				t.Errorf("processors %v, want %v", got, c.processors)
			}
			if total := memTotal(); total > 0 && c.memory > 0 && Memory() != min(total, c.memory) {
				t.Errorf("of %d, and %d of the group: %d", total, c.memory, Memory())
			}
		})
	}
}

func TestIdle(t *testing.T) {
	if _, err := os.Stat("/proc/stat"); err != nil {
		t.Skip("no /proc/stat")
	}
	idle, all, ok := Idle()
	if !ok || all <= 0 || idle <= 0 || idle > all {
		t.Errorf("idle %d of %d, %v", idle, all, ok)
	}
}

// TestUsed: time on a processor counts.
func TestUsed(t *testing.T) {
	before, known := Used()
	if !known {
		t.Skip("not known here")
	}
	for began := time.Now(); time.Since(began) < 50*time.Millisecond; {
	}
	if after, _ := Used(); after <= before {
		t.Errorf("%v, then %v", before, after)
	}
}

// TestMemory: what this machine says is plausible.
func TestMemory(t *testing.T) {
	have, total := Memory(), memTotal()
	if have < 1<<20 || total < have {
		t.Errorf("the process may have %d bytes of %d", have, total)
	}
}
