package agent

import (
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"

	"fanin/internal/journal"
	"fanin/internal/spool"
	"fanin/internal/tail"
	"fanin/internal/unixsock"
)

var countRow = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (.*) \\|$")

// The counts in docs/metrics.md are those that an agent has, and the metrics say the same of
// them.
func TestCountsDocument(t *testing.T) {
	_, text := agentDocument(t)
	counts := new(tail.Tailer).Counts()
	maps.Copy(counts, new(spool.Spool).Counts())
	maps.Copy(counts, new(unixsock.Socket).Counts())
	maps.Copy(counts, new(journal.Journal).Counts())
	for _, m := range countRow.FindAllStringSubmatch(text, -1) {
		name, meaning := m[1], m[2]
		if _, ok := counts[name]; !ok {
			t.Errorf("docs/metrics.md has %q, which the agent does not count", name)
		}
		if countHelp[name] != meaning {
			t.Errorf("%s: countHelp (metrics.go) has %q, and docs/metrics.md %q", name, countHelp[name], meaning)
		}
		delete(counts, name)
	}
	for name := range counts {
		t.Errorf("docs/metrics.md does not have %q", name)
	}
}

// agentDocument is the part of docs/metrics.md on the agent: before and from its counts on.
func agentDocument(t *testing.T) (metrics, counts string) {
	t.Helper()
	b, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(b), "\n## The agent\n")
	metrics, counts, found := strings.Cut(text, "\n| count | meaning |\n")
	if !found {
		t.Fatal("docs/metrics.md has no counts of the agent")
	}
	return metrics, counts
}

// The metrics in docs/metrics.md are those of an agent.
func TestAgentMetricsDocument(t *testing.T) {
	text, _ := agentDocument(t)
	st := status{Sources: []sourceStatus{{Kind: "file", State: current}}, Counts: make(map[string]uint64),
		Compression: new(compressionStatus)}
	for name := range countHelp {
		st.Counts[name] = 0
	}
	known := make(map[string]bool)
	for _, m := range append(st.metrics(), new(renewer).metrics()...) {
		known[m.name] = true
		count := strings.TrimSuffix(strings.TrimPrefix(m.name, "fanin_agent_"), "_total")
		if row := "| `" + m.name + "` | " + m.kind + " | "; countHelp[count] == "" && (!strings.Contains(text, row) || !strings.Contains(text, " | "+m.help+" |")) {
			t.Errorf("docs/metrics.md has no row %s... | %s |", row, m.help)
		}
	}
	for _, name := range regexp.MustCompile(`\bfanin_agent_[a-z_]+`).FindAllString(text, -1) {
		if !known[name] && name != "fanin_agent_" {
			t.Errorf("docs/metrics.md names %s, which is no metric of the agent", name)
		}
	}
}
