package rig

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// Member is a collector of a cluster. Its logs are LOGS/P/all.log, and their states STATE/P.
type Member struct {
	Collector
	Logs string
}

// NewMember makes a member that keeps everything in dir. logTable are more lines of the
// [collector.log] table, clusterTable those of [collector.cluster].
func NewMember(program, dir, logTable, clusterTable string) (*Member, error) {
	m := &Member{Logs: filepath.Join(dir, "logs")}
	m.State, m.config = filepath.Join(dir, "state"), filepath.Join(dir, "collector.toml")
	if err := os.MkdirAll(m.Logs, 0o750); err != nil {
		return nil, err
	}
	text := fmt.Sprintf("[collector]\nstate = %q\n[collector.log]\npath = %q\n%s\n[collector.cluster]\n%s\n", m.State,
		filepath.Join(m.Logs, "{partition}", "all.log"), logTable, clusterTable)
	m.Process = Process{Path: program, Args: []string{"--config", m.config}, Wait: "member "}
	return m, os.WriteFile(m.config, []byte(text), 0o640)
}

// Start starts the member. What it owns comes to it later.
func (m *Member) Start() error { return m.Process.Start() }

// Partition is where the log of a partition is, and its state.
func (m *Member) Partition(p int) (log, state string) {
	return filepath.Join(m.Logs, strconv.Itoa(p), "all.log"), filepath.Join(m.State, strconv.Itoa(p))
}
