package page

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// fleet is what connects to a collector: agents and workers.
type fleet struct {
	t   *testing.T
	c   *collector
	dir string
}

// program starts one of the programs, until the test ends.
func (f *fleet) program(name string, args ...string) *exec.Cmd {
	f.t.Helper()
	dir, err := programs()
	if err != nil {
		f.t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, name), args...)
	out, err := os.OpenFile(filepath.Join(f.dir, "programs.out"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { end(cmd) })
	return cmd
}

// end is kill -9.
func end(cmd *exec.Cmd) {
	cmd.Process.Kill()
	cmd.Wait()
}

// agent starts an agent of a host that follows files with these names, each with a few lines.
func (f *fleet) agent(host string, names ...string) *exec.Cmd {
	f.t.Helper()
	dir := filepath.Join(f.dir, host)
	if err := os.Mkdir(dir, 0o700); err != nil {
		f.t.Fatal(err)
	}
	text := fmt.Sprintf("[agent]\nid = %q\nhost = %[1]q\nstate = %q\nto = [%q]\n[[agent.file]]\npaths = [%q]\n", host, filepath.Join(dir, "state"),
		"tcp://"+f.c.tcp, filepath.Join(dir, "*.log"))
	f.write(filepath.Join(dir, "agent.toml"), text)
	for _, name := range names {
		f.write(filepath.Join(dir, name+".log"), strings.Repeat("a line of "+name+"\n", 10+len(name)))
	}
	return f.program("fanin-agent", "--config", filepath.Join(dir, "agent.toml"))
}

func (f *fleet) write(path, text string) {
	f.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// worker starts a worker of a group, whose command is a script of sh.
func (f *fleet) worker(group, script string) *exec.Cmd {
	f.t.Helper()
	return f.program("fanin-collector", "work", "--connect", f.c.work(), "--group", group, "--from", "start", "--", "sh", "-c", script)
}

// work is the address for workers.
func (c *collector) work() string {
	var s struct{ Listen []string }
	text, err := c.get("/status")
	if err == nil {
		err = json.Unmarshal([]byte(text), &s)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	for _, l := range s.Listen {
		if kind, address, ok := strings.Cut(l, " "); ok && kind == "work" {
			return address
		}
	}
	c.t.Fatalf("no listener for workers among %q", s.Listen)
	return ""
}

// startFleet connects agents and workers: one agent is gone, one group has no worker any more, and one worker never
// answers.
func startFleet(t *testing.T, c *collector) {
	f := &fleet{t, c, t.TempDir()}
	gone := f.agent("web-3", "nginx-access")
	wait(t, "the first agent's lines", func() bool { return strings.Contains(c.has("a line of"), "nginx-access") })
	f.agent("web-1", "nginx-access", "nginx-error", "app")
	f.agent("web-2", "nginx-access", "app")
	f.agent("db-1.eu-west.example.net", "postgresql")
	f.agent("edge-1")
	left := f.worker("archive", "cat >/dev/null")
	f.worker("mail", "cat >/dev/null")
	f.worker("mail", "cat >/dev/null")
	slow := f.worker("slow", "cat >/dev/null")
	connected := func(path string, n int) func() bool {
		return func() bool {
			text, _ := c.get(path)
			return strings.Count(text, `"since"`) >= n
		}
	}
	wait(t, "the workers", connected("/workers", 4))
	wait(t, "the agents", func() bool {
		text, _ := c.get("/streams")
		return strings.Count(text, `"agent"`) >= 7
	})
	end(gone)
	end(left)
	slow.Process.Signal(syscall.SIGSTOP)
	c.send(story()...)
}
