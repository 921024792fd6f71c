package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// journalSettings is an agent's settings with an [agent.journal] table.
func journalSettings(t *testing.T, to, table string) (*settings, error) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "agent.toml")
	text := "[agent]\nid = \"web-1\"\nstate = \"" + filepath.Join(dir, "state") + "\"\nto = [\"" + to +
		"\"]\n[agent.journal]\n" + table
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return (&options{config: path}).load(nil)
}

// TestJournalMistakes: what is wrong with the table is said with its place.
func TestJournalMistakes(t *testing.T) {
	for _, c := range []struct{ to, table, want string }{
		{"tcp://127.0.0.1:1", "", ""},
		{"tcp://127.0.0.1:1", "units = [\"nginx\", \"a*.service\"]\nmatches = [\"PRIORITY=3\"]\nsource = \"x-{identifier}\"\npid = false\n", ""},
		{"udp://127.0.0.1:1", "", "needs acknowledgements"},
		{"tcp://127.0.0.1:1", "units = [\"[\"]\n", "no name or pattern of a unit"},
		{"tcp://127.0.0.1:1", "matches = [\"priority=3\"]\n", "want FIELD=VALUE"},
		{"tcp://127.0.0.1:1", "fields = [\"priority\"]\n", "is no field"},
		{"tcp://127.0.0.1:1", "source = \"{unti}\"\n", "{unti} is not known"},
		{"tcp://127.0.0.1:1", "source = \"{unit\"\n", "without its }"},
	} {
		_, err := journalSettings(t, c.to, c.table)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) ||
			!strings.Contains(err.Error(), "agent.journal")) {
			t.Errorf("%s %q: %v, want %q", c.to, c.table, err, c.want)
		}
	}
}

// TestNoJournalctl: where there is no journalctl, as in an image without systemd, check and a start
// refuse the table, and say what to do. A journalctl that is killed keeps no agent from starting.
func TestNoJournalctl(t *testing.T) {
	s, err := journalSettings(t, "tcp://127.0.0.1:1", "")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	_, started := newAgent(s)
	for name, err := range map[string]error{"check": s.checkEnvironment(new(strings.Builder)), "start": started} {
		if err == nil || strings.Count(err.Error(), "no journalctl in PATH") != 1 ||
			!strings.Contains(err.Error(), "docs/kubernetes.md") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "journalctl"), []byte("#!/bin/sh\nkill -9 $$\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.checkEnvironment(new(strings.Builder)); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("check: %v", err)
	}
	a, err := newAgent(s)
	if err != nil {
		t.Fatal(err)
	}
	a.lock.Close()
}
