package agent

import (
	"maps"
	"os"
	"regexp"
	"testing"

	"fanin/internal/journal"
	"fanin/internal/spool"
	"fanin/internal/tail"
)

var countRow = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|")

// The counts in docs/metrics.md are those that an agent has.
func TestCountsDocument(t *testing.T) {
	b, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	counts := new(tail.Tailer).Counts()
	maps.Copy(counts, new(spool.Spool).Counts())
	maps.Copy(counts, new(journal.Journal).Counts())
	for _, m := range countRow.FindAllSubmatch(b, -1) {
		name := string(m[1])
		if _, ok := counts[name]; ok {
			delete(counts, name)
		} else if len(name) < 6 || name[:6] != "fanin_" {
			t.Errorf("docs/metrics.md has %q, which the agent does not count", name)
		}
	}
	for name := range counts {
		t.Errorf("docs/metrics.md does not have %q", name)
	}
}
