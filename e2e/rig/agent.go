package rig

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Agent is an agent that follows patterns.
type Agent struct {
	Process
	State string
}

// NewAgent follows patterns and keeps its state in dir.
func NewAgent(program, dir, to, id string, patterns ...string) *Agent {
	a := &Agent{State: filepath.Join(dir, "agent-"+id)}
	a.Process = Process{Path: program, Args: append([]string{"--to", to, "--id", id, "--state", a.State}, patterns...)}
	return a
}

// Keys are more keys of an agent and of its table of files, each in a line.
type Keys struct{ Agent, File string }

// NewTextAgent is NewAgent with more keys.
func NewTextAgent(program, dir, to, id string, keys Keys, patterns ...string) *Agent {
	a := &Agent{State: filepath.Join(dir, "agent-"+id)}
	config := filepath.Join(dir, "agent-"+id+".toml")
	paths, _ := json.Marshal(patterns)
	text := fmt.Sprintf("[agent]\nid = %q\nstate = %q\nto = [%q]\n%s[[agent.file]]\npaths = %s\n%s", id, a.State, "tcp://"+to,
		keys.Agent, paths, keys.File)
	if err := os.WriteFile(config, []byte(text), 0o640); err != nil {
		panic(err) // a test's own directory
	}
	a.Process = Process{Path: program, Args: []string{"--config", config}}
	return a
}

// FileStatus is one file in an agent's status.
type FileStatus struct {
	Path    string `json:"path"`
	Size    int64  `json:"size"`
	Acked   int64  `json:"acked"`
	Trouble string `json:"trouble"`
}

// Files asks the agent how far its files are acknowledged.
func (a *Agent) Files() ([]FileStatus, error) {
	conn, err := net.Dial("unix", filepath.Join(a.State, "control.sock"))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	var st struct{ Files []FileStatus }
	err = json.NewDecoder(conn).Decode(&st)
	return st.Files, err
}

var errBehind = errors.New("not everything is acknowledged")

// Drained waits until every file is acknowledged to its end, and that stays so
// over a few looks.
func (a *Agent) Drained(files int, patience time.Duration) error {
	calm := 0
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		list, err := a.Files()
		ok := err == nil && len(list) >= files
		for _, f := range list {
			ok = ok && f.Acked == f.Size
		}
		if calm++; !ok {
			calm = 0
		}
		if calm >= 3 {
			return nil
		}
	}
	list, err := a.Files()
	return fmt.Errorf("%w after %v: %v %+v\n%s", errBehind, patience, err, list, a.Output())
}

// NewNATSAgent is NewTextAgent over NATS, through a stream if one is named.
func NewNATSAgent(program, dir, url, stream, id string, keys Keys, patterns ...string) *Agent {
	a := &Agent{State: filepath.Join(dir, "agent-"+id)}
	config := filepath.Join(dir, "agent-"+id+".toml")
	to, _ := json.Marshal(strings.Split(url, ","))
	paths, _ := json.Marshal(patterns)
	text := fmt.Sprintf("[agent]\nid = %q\nstate = %q\nto = %s\n%s[agent.nats]\nstream = %q\nanswer_within = \"3s\"\n"+
		"[[agent.file]]\npaths = %s\n%s", id, a.State, to, keys.Agent, stream, paths, keys.File)
	if err := os.WriteFile(config, []byte(text), 0o640); err != nil {
		panic(err) // a test's own directory
	}
	a.Process = Process{Path: program, Args: []string{"--config", config}}
	return a
}
