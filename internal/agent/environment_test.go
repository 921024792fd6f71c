package agent

import (
	"path/filepath"
	"testing"
	"time"
)

// TestEnvironmentOfTheAgent: every kind of key may come from the environment, and a value with TOML
// in it is a value.
func TestEnvironmentOfTheAgent(t *testing.T) {
	for name, value := range map[string]string{"POD": "web-1", "TO": "127.0.0.1:1", "MAX": "7", "DIRS": "{a,b}", "WAIT": "2s", "SYNC": "true", "EVIL": "x\"\n[agent]\nid = \"evil"} {
		t.Setenv(name, value)
	}
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "agent.toml"), `[agent]
id = "${POD}"
host = "${HOST_OF_THE_POD:-${POD}}"
state = '`+dir+`'
to = ["tcp://${TO}"]
max_files = "${MAX}"
poll = "${WAIT}"
[[agent.file]]
paths = ["/var/log/${DIRS}/*.log"]
sync_source = "${SYNC}"
source = "${EVIL}"
[collector.log]
path = "${OF_ANOTHER_PROGRAM}"
`)
	s, err := (&options{config: path}).load(nil)
	if err != nil {
		t.Fatal(err)
	}
	a := s.Agent
	if a.ID != "web-1" || a.Host != "web-1" || a.To[0] != "tcp://127.0.0.1:1" || s.maxFiles() != 7 || time.Duration(a.Poll) != 2*time.Second ||
		a.File[0].Paths[0] != "/var/log/{a,b}/*.log" || !a.File[0].SyncSource || a.File[0].Source != "x\"\n[agent]\nid = \"evil" {
		t.Errorf("read %+v", a)
	}
}
