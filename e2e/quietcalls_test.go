package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fanin/e2e/rig"
	"fanin/internal/waittest"
)

// TestQuietAgentCalls: a line that comes alone takes an agent few system calls. It took 19, without those of Go's
// scheduler, which it woke, too.
func TestQuietAgentCalls(t *testing.T) {
	if out, err := exec.Command("strace", "-D", "-f", "-c", "-o", filepath.Join(t.TempDir(), "probe"), "--", "true").CombinedOutput(); err != nil {
		t.Skipf("strace cannot trace here: %v: %s", err, out)
	}
	const more, most = 100, 10
	few, many := linesAlone(t, 20), linesAlone(t, 20+more)
	sum := 0
	for _, call := range []string{"pread64", "preadv2", "fstat", "read", "write", "writev"} {
		sum += many[call] - few[call]
	}
	t.Logf("%d lines more: %d calls of files and sockets more", more, sum)
	if many["pread64"]-few["pread64"] > more {
		t.Skip("this file system cannot tell what it has in memory")
	}
	if sum > most*more {
		t.Errorf("%d lines took %d calls, want at most %d for each", more, sum, most)
	}
	if sum < 3*more {
		t.Errorf("%d lines took %d calls: not all were counted", more, sum)
	}
}

// linesAlone has an agent send lines, each when the one before it is in the log, and counts its system calls.
func linesAlone(t *testing.T, lines int) (calls map[string]int) {
	t.Helper()
	dir := t.TempDir()
	logDir := filepath.Join(dir, "log")
	c, err := rig.NewCollector(programs.Collector, dir, logDir, "sync = \"none\"\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Kill()
	f, err := os.Create(filepath.Join(dir, "app.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a := rig.NewAgent(programs.Agent, dir, c.Addr, "a", f.Name())
	summary := filepath.Join(dir, "strace")
	a.Args = append([]string{"-D", "-f", "-q", "-c", "-U", "calls,name", "-o", summary, "--", a.Path}, a.Args...)
	a.Path = "strace"
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	defer a.Kill()
	for i := range lines {
		fmt.Fprintf(f, "a line of some length, as programs write them, number %d\n", i)
		waittest.Until(t, "the line", func() bool {
			text, err := os.ReadFile(filepath.Join(logDir, "all.log"))
			return err == nil && bytes.Contains(text, fmt.Appendf(nil, "number %d\n", i))
		})
	}
	if code, err := a.Stop(); err != nil || code != 0 {
		t.Fatalf("exit %d, %v", code, err)
	}
	var text []byte
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end) && !bytes.Contains(text, []byte("total")); time.Sleep(5 * time.Millisecond) {
		text, _ = os.ReadFile(summary) // strace writes it once its program has ended
	}
	calls = make(map[string]int)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 2 {
			calls[f[1]], _ = strconv.Atoi(f[0]) // 0: the head
		}
	}
	return calls
}
