package fanin_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// SIGHUP ends no agent. It says what a changed configuration takes.
func TestAgentSurvivesHangup(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "agent.toml")
	write := func(more string) {
		text := fmt.Sprintf("[agent]\nid = \"a\"\nstate = %q\nto = [\"tcp://127.0.0.1:1\"]\n%s\n[[agent.file]]\npaths = [%q]\n", filepath.Join(dir, "state"), more, filepath.Join(dir, "*.log"))
		if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	a := start(t, exec.Command(filepath.Join(programDir(t), "fanin-agent"), "--config", config))
	a.wait("^state ")
	for _, step := range []struct{ more, says string }{
		{"", "SIGHUP: the configuration is unchanged"},
		{"max_line = \"64KiB\"", "SIGHUP: nothing was changed, because some changes need a restart.* restart_for=agent.max_line"},
		{"log_level = \"debug\"", "SIGHUP: the new configuration is in force.* changed=agent.log_level"},
		{"", "SIGHUP: the new configuration is in force"},
		{"max_line = 3", "SIGHUP: the configuration has mistakes"},
		{"", "SIGHUP: the configuration is unchanged"},
	} {
		write(step.more)
		a.Process.Signal(syscall.SIGHUP)
		a.wait(step.says)
	}
	a.stop()
}

// Lines that are written while the configuration is reloaded a hundred times, with tables that come,
// go and change, good and bad, and the agent is killed in between, are in the log once each, in order.
func TestAgentReloads(t *testing.T) {
	const reloads = 100
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	c := start(t, exec.Command(filepath.Join(programDir(t), "fanin-collector"), "--out", at("all"), "--listen", "127.0.0.1:0"))
	address := c.wait("^listening (?:tcp )?(127.*)")
	configure := func(agent, files string) {
		text := fmt.Sprintf("[agent]\nid = \"a\"\nstate = %q\nto = [\"tcp://%s\"]\n%s\n%s\n", at("state"), address, agent, strings.ReplaceAll(files, "DIR", dir))
		if err := os.WriteFile(at("agent.toml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	all := "[[agent.file]]\npaths = [\"DIR/**/*.log\"]"
	sets := []struct{ agent, files, says string }{
		{"", all, "in force|unchanged"}, {"", "[[agent.file]]\npaths = [\"DIR/a.log\"]", "in force|unchanged"}, {"", "[[agent.file]]\npaths = [\"DIR/none\"]", "in force|unchanged"},
		{"", all + "\nsource = \"x-{name}\"", "in force|unchanged"}, {"", "[[agent.file]]\npaths = [\"DIR/{b,c/*}.log\"]", "in force|unchanged"},
		{"", "[[agent.file]]\npaths = [", "has mistakes"}, {"max_line = \"64KiB\"", all, "need a restart"},
	}
	configure("", all)
	run := func() *process {
		a := start(t, exec.Command(filepath.Join(programDir(t), "fanin-agent"), "--config", at("agent.toml")))
		a.wait("^state ")
		return a
	}
	a := run()
	if err := os.Mkdir(at("c"), 0o755); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	written := make([]int, 3)
	for i, name := range []string{"a.log", "b.log", "c/c.log"} {
		writers.Go(func() { // ends by stop
			for ; ; written[i]++ {
				select {
				case <-stop:
					return
				case <-time.After(2 * time.Millisecond):
					appendFile(t, at(name), fmt.Sprintf("line %d of %d\n", written[i], i))
				}
			}
		})
	}
	for i := range reloads {
		set := sets[(i*5+i/7)%len(sets)]
		configure(set.agent, set.files)
		a.Process.Signal(syscall.SIGHUP)
		a.wait("SIGHUP: .*(" + set.says + ")")
		if i%20 == 19 {
			a.Process.Kill()
			<-a.exited
			configure("", sets[i/20].files)
			a = run()
		}
	}
	close(stop)
	writers.Wait()
	configure("", all)
	a.Process.Signal(syscall.SIGHUP)
	a.wait("SIGHUP: .*(in force|unchanged)")
	for i, n := range written {
		awaitLine(t, at("all"), fmt.Sprintf(" line %d of %d\n", n-1, i))
	}
	b, err := os.ReadFile(at("all"))
	if err != nil {
		t.Fatal(err)
	}
	next := make([]int, len(written))
	for _, m := range regexp.MustCompile(`line (\d+) of (\d)\n`).FindAllStringSubmatch(string(b), -1) {
		n, _ := strconv.Atoi(m[1])
		i, _ := strconv.Atoi(m[2])
		if n != next[i] {
			t.Fatalf("line %d of %d comes where %d belongs", n, i, next[i])
		}
		next[i]++
	}
	if !slices.Equal(next, written) {
		t.Errorf("%v lines are in the log, and %v were written", next, written)
	}
	a.stop()
}

// An agent that is stopped while only it can still read a deleted file says what is
// lost, and of nothing else that it is.
func TestAgentReportsLostLines(t *testing.T) {
	dir := t.TempDir()
	config, gone, stays, log := filepath.Join(dir, "agent.toml"), filepath.Join(dir, "gone.log"), filepath.Join(dir, "stays.log"), filepath.Join(dir, "all.log")
	appendFile(t, gone, "one\n")
	appendFile(t, stays, "here\n")
	c := start(t, exec.Command(filepath.Join(programDir(t), "fanin-collector"), "--out", log, "--listen", "127.0.0.1:0"))
	address := c.wait("^listening (?:tcp )?(127.*)")
	appendFile(t, config, fmt.Sprintf("[agent]\nid = \"a\"\nstate = %q\nto = [\"tcp://%s\"]\nstop_timeout = \"100ms\"\n[[agent.file]]\npaths = [%q, %q]\n", filepath.Join(dir, "state"), address, gone, stays))
	a := start(t, exec.Command(filepath.Join(programDir(t), "fanin-agent"), "--config", config))
	awaitLine(t, log, " gone: one")
	awaitLine(t, log, " stays: here")
	c.stop()
	appendFile(t, gone, "two\nthree\n")
	appendFile(t, stays, "later\n")
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	a.stop()
	if want := " path=" + gone + " offset=4 bytes=10 lines=2\n"; !strings.Contains(a.said(), want) {
		t.Errorf("it does not say that this is lost: %s", want)
	}
	if n := strings.Count(a.said(), "lost: "); n != 1 {
		t.Errorf("%d files are said to be lost:\n%s", n, a.said())
	}
}

// An agent with many more files than its limit of open files follows them all, and
// keeps enough descriptors to find its collector again.
func TestAgentWithFewDescriptors(t *testing.T) {
	const files = 150
	dir, log := t.TempDir(), filepath.Join(t.TempDir(), "all.log")
	write := func(text string) {
		for i := range files {
			appendFile(t, filepath.Join(dir, fmt.Sprintf("f%d.log", i)), text)
		}
	}
	lines := func(text string) {
		for i := range files {
			awaitLine(t, log, fmt.Sprintf(" f%d: %s", i, text))
		}
	}
	write("one\n")
	collector := filepath.Join(programDir(t), "fanin-collector")
	c := start(t, exec.Command(collector, "--out", log, "--listen", "127.0.0.1:0"))
	address := c.wait("^listening tcp (.*)")
	a := start(t, exec.Command("sh", "-c", `ulimit -n 64 && exec "$@"`, "sh", filepath.Join(programDir(t), "fanin-agent"),
		"--to", address, "--id", "a", "--state", filepath.Join(dir, "state"), filepath.Join(dir, "*.log")))
	a.wait("raise the limit of open files .* limit=64 ")
	lines("one")
	c.stop()
	write("two\n")
	start(t, exec.Command(collector, "--out", log, "--listen", address))
	lines("two")
	a.stop()
	for _, said := range []string{"too many open files", "vanished", "lost"} {
		if strings.Contains(strings.ReplaceAll(a.said(), "lines of files that are deleted meanwhile may be lost", ""), said) {
			t.Errorf("it says %q", said)
		}
	}
}

func appendFile(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = f.WriteString(text)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}
