package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"fanin/e2e/rig"
	"fanin/internal/waittest"
	"fanin/sink"
)

// traced has a program run under strace, which notes each sync and each rename in
// a file of its own.
func traced(t *testing.T, p *rig.Process) (calls func() syncs) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "strace")
	// With -D the program is this test's child, and strace its grandchild.
	p.Args = append([]string{"-D", "-f", "-q", "-y", "-e", "signal=none", "-e", "trace=fdatasync,fsync,rename,renameat,renameat2", "-o", out, "--", p.Path}, p.Args...)
	p.Path = "strace"
	return func() syncs {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			b, err := os.ReadFile(out)
			if err == nil && strings.Contains(string(b), "+++ exited with 0 +++") {
				return parseSyncs(t, string(b))
			}
		}
		t.Fatal("strace did not end with its program")
		return nil
	}
}

// syncs counts calls that went well, by "call name": fdatasync wal, fsync state.
type syncs map[string]int

var (
	syncCall   = regexp.MustCompile(`(?m)^(\d+) +(fdatasync|fsync)\(\d+<([^>]*)>(.*)$`)
	syncResult = regexp.MustCompile(`(?m)^(\d+) +<\.\.\. (?:fdatasync|fsync) resumed>\) += (-?\d+)`)
	failedCall = regexp.MustCompile(`(?m)^.*(?:fdatasync|fsync|rename).*\) += -1 .*$`)
)

func parseSyncs(t *testing.T, trace string) syncs {
	t.Helper()
	if failed := failedCall.FindString(trace); failed != "" {
		t.Errorf("a call failed: %s", failed)
	}
	calls, unfinished := make(syncs), 0
	for _, m := range syncCall.FindAllStringSubmatch(trace, -1) {
		calls[m[2]+" "+filepath.Base(m[3])]++
		if strings.Contains(m[4], "<unfinished ...>") {
			unfinished++
		}
	}
	for range syncResult.FindAllString(trace, -1) {
		unfinished--
	}
	if unfinished != 0 {
		t.Errorf("%d calls never came back", unfinished)
	}
	calls["rename"] = strings.Count(trace, "rename")
	return calls
}

// TestSystemCalls counts what really goes to the kernel in a short run: tests that
// stand in for the disk, as all others do, would not notice if the call itself did
// nothing. One fdatasync for each commit; file, ledger, table and slot for each
// checkpoint; and the directories.
func TestSystemCalls(t *testing.T) {
	if out, err := exec.Command("strace", "-D", "-f", "-e", "trace=fsync", "-o", filepath.Join(t.TempDir(), "probe"), "--", "true").CombinedOutput(); err != nil {
		t.Skipf("strace cannot trace here: %v: %s", err, out)
	}
	dir := t.TempDir()
	logDir := filepath.Join(dir, "log")
	c, err := rig.NewCollector(programs.Collector, dir, logDir, "")
	if err != nil {
		t.Fatal(err)
	}
	calls := traced(t, &c.Process)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Kill()
	conn, err := net.Dial("tcp", c.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const lines = 30
	for i := range lines { // each is a commit of its own
		fmt.Fprintf(conn, "line %d\n", i)
		waittest.Until(t, "the line", func() bool {
			text, err := os.ReadFile(filepath.Join(logDir, "all.log"))
			return err == nil && strings.Contains(string(text), fmt.Sprintf("line %d\n", i))
		})
		if i%10 == 9 {
			if err := c.Ask("POST", "/rotate", nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	packed := 0
	waitStatus(t, c, func(st sink.Status) bool {
		packed = 0
		for _, g := range st.Generations {
			if g.State == "gzip" {
				packed++
			}
		}
		return packed == 2 // the newest stays as it is
	})
	var text string
	if err := c.Ask("GET", "/metrics", &text); err != nil {
		t.Fatal(err)
	}
	commits, checkpoints := metric(text, "fanin_commits_total"), metric(text, "fanin_checkpoints_total")
	if code, err := c.Stop(); err != nil || code != 0 {
		t.Fatalf("exit %d, %v", code, err)
	}
	got := calls()
	t.Logf("%d commits, %d checkpoints: %v", commits, checkpoints, got)
	ledgers, tables, archives := 0, 0, 0
	for call, n := range got {
		switch {
		case strings.HasPrefix(call, "fdatasync ledger-"):
			ledgers += n
		case strings.HasPrefix(call, "fdatasync table-"):
			tables += n
		case strings.HasPrefix(call, "fdatasync .all-") && strings.HasSuffix(call, ".gz.new"):
			archives += n
		}
	}
	if commits < lines || got["fdatasync wal"] != commits {
		t.Errorf("%d commits and %d syncs of the write-ahead log", commits, got["fdatasync wal"])
	}
	checkpoints++ // the last one, at the end
	const rotations = 3
	for what, n := range map[string][2]int{
		"of slots":                   {got["fdatasync checkpoint"], checkpoints},
		"of the log":                 {got["fdatasync all.log"], checkpoints},
		"of tables":                  {tables, 1 + rotations + packed}, // what changed of the files
		"of ledgers":                 {ledgers, rotations},
		"of archives":                {archives, packed},
		"of the log's directory":     {got["fsync log"], rotations + 2*packed}, // a new name, an archive and a removal
		"of the state's directory":   {got["fsync state"], 2 + rotations},
		"of what is above":           {got["fsync "+filepath.Base(dir)], 1},
		"of the write-ahead log new": {got["fdatasync wal.new"], 1},
	} {
		if n[0] < n[1] {
			t.Errorf("%d syncs %s, want at least %d", n[0], what, n[1])
		}
	}
	agentSystemCalls(t, dir)
}

// agentSystemCalls: the saved positions are synced, and their directory.
func agentSystemCalls(t *testing.T, dir string) {
	t.Helper()
	c, err := rig.NewCollector(programs.Collector, dir, filepath.Join(dir, "log"), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Kill()
	if err := os.WriteFile(filepath.Join(dir, "app.log"), []byte("one\ntwo\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	a := rig.NewAgent(programs.Agent, dir, c.Addr, "a", filepath.Join(dir, "app.log"))
	calls := traced(t, &a.Process)
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	defer a.Kill()
	if err := a.Drained(1, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	if code, err := a.Stop(); err != nil || code != 0 {
		t.Fatalf("exit %d, %v", code, err)
	}
	got := calls()
	t.Logf("agent: %v", got)
	for _, call := range []string{"fdatasync .marks.new", "fsync agent-a", "fsync " + filepath.Base(dir)} {
		if got[call] == 0 {
			t.Errorf("no %s: %v", call, got)
		}
	}
}

func waitStatus(t *testing.T, c *rig.Collector, ok func(sink.Status) bool) {
	t.Helper()
	var st sink.Status
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if st, err = c.Status(); err == nil && ok(st) {
			return
		}
	}
	t.Fatalf("waited in vain: %+v, %v", st, err)
}
