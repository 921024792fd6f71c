package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"fanin/e2e/rig"
)

// TestManual runs the scripts in testdata with the built programs. They are to
// be read: each shows how one thing is done, and what comes of it.
func TestManual(t *testing.T) { testscript.Run(t, manual()) }

// manual is how scripts are run.
func manual() testscript.Params {
	return testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", programs.Dir+string(os.PathListSeparator)+os.Getenv("PATH"))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("AGENT", programs.Agent)
			examples, err := filepath.Abs("../examples")
			env.Setenv("EXAMPLES", examples)
			foreign(env)
			return err
		},
		Condition: func(name string) (bool, error) {
			if name == "root" {
				return os.Getuid() == 0, nil
			}
			return have(name)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"port":      freePort,
			"until":     until,
			"count":     count,
			"send":      send,
			"script":    script,
			"listening": listening,
			"flood":     flood,
			"settled":   settled,

			"natsserver": natsServer,
			"publish":    publish,
			"ask":        ask,
			"eventually": eventually,
			"rsyslog":    rsyslog,
		},
	}
}

// freePort sets a variable to a port that no process listens on: port NAME.
func freePort(ts *testscript.TestScript, _ bool, args []string) {
	port, err := rig.FreePort()
	ts.Check(err)
	ts.Setenv(args[0], strconv.Itoa(port))
}

// until waits until a file has a line that matches: until FILE REGEXP.
func until(ts *testscript.TestScript, _ bool, args []string) {
	re := regexp.MustCompile("(?m)" + args[1])
	path := ts.MkAbs(args[0])
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if b, err := os.ReadFile(path); err == nil && re.Match(b) {
			return
		}
	}
	b, _ := os.ReadFile(path)
	ts.Fatalf("no line of %s matches %q; it holds:\n%s", args[0], args[1], b)
}

// count counts the lines that match, in all files that a pattern names, packed
// ones too: count N REGEXP PATTERN...
func count(ts *testscript.TestScript, _ bool, args []string) {
	re := regexp.MustCompile("(?m)" + args[1])
	n := 0
	for _, pattern := range args[2:] {
		files, err := filepath.Glob(ts.MkAbs(pattern))
		ts.Check(err)
		for _, path := range files {
			b, err := exec.Command("zcat", "-f", path).Output()
			ts.Check(err)
			n += len(re.FindAll(b, -1))
		}
	}
	if strconv.Itoa(n) != args[0] {
		ts.Fatalf("%d lines match %q, want %s", n, args[1], args[0])
	}
}

// send sends text to a port and closes: send tcp|udp PORT TEXT, \n and \x00 understood.
func send(ts *testscript.TestScript, _ bool, args []string) {
	conn, err := net.Dial(args[0], "127.0.0.1:"+args[1])
	ts.Check(err)
	text, err := strconv.Unquote(`"` + strings.ReplaceAll(args[2], `"`, `\"`) + `"`)
	ts.Check(err)
	_, err = conn.Write([]byte(text))
	ts.Check(err)
	ts.Check(conn.Close())
}

// script runs a program that may be missing: script NEEDED COMMAND ARGS...
func script(ts *testscript.TestScript, _ bool, args []string) {
	if _, err := exec.LookPath(args[0]); err != nil {
		ts.Logf("SKIPPED: %s is not installed", args[0])
		return
	}
	ts.Check(ts.Exec(args[1], args[2:]...))
}

// listening waits until the collector with this state directory takes lines.
func listening(ts *testscript.TestScript, _ bool, args []string) {
	path := filepath.Join(ts.MkAbs(args[0]), "control.sock")
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}}
		resp, err := client.Get("http://collector/status")
		if err != nil {
			continue
		}
		var st struct{ Listen []string }
		err = json.NewDecoder(resp.Body).Decode(&st)
		resp.Body.Close()
		if err == nil && len(st.Listen) >= 2 {
			return
		}
	}
	ts.Fatalf("no collector listens with the state %s", args[0])
}

// flood sends lines over one connection and runs a command after each fifty:
// flood PORT N COMMAND ARGS...
func flood(ts *testscript.TestScript, _ bool, args []string) {
	conn, err := net.Dial("tcp", "127.0.0.1:"+args[0])
	ts.Check(err)
	defer conn.Close()
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	for i := range n {
		_, err := fmt.Fprintf(conn, "line %d\n", i)
		ts.Check(err)
		if i%50 == 49 {
			ts.Check(ts.Exec(args[2], args[3:]...))
		}
	}
}

// settled waits until a group of all.log has nothing left to do: settled GROUP.
func settled(ts *testscript.TestScript, _ bool, args []string) {
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		c := exec.Command(filepath.Join(programs.Dir, "fanin-collector"), "groups", "--json", "--out", ts.MkAbs("all.log"))
		b, err := c.Output()
		var groups []struct {
			Group    string
			LagLines *int `json:"lag_lines"`
		}
		if err != nil || json.Unmarshal(b, &groups) != nil {
			continue
		}
		for _, g := range groups {
			if g.Group == args[0] && *g.LagLines == 0 {
				return
			}
		}
	}
	ts.Fatalf("group %s is not done", args[0])
}
