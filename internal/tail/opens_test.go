package tail

import (
	"fanin/internal/waittest"
	"os"
	"strings"
	"testing"
)

// What the collector learns about a file's beginning when a stream is opened is how
// the file begins then: after it was copied and truncated, not how it began before.
// An agent that is killed before it writes its saved positions goes by that.
func TestOpenTellsHowTheFileBeginsNow(t *testing.T) {
	for name, empty := range map[string]bool{"seen empty": true, "grown at once": false} {
		t.Run(name, func(t *testing.T) { openTells(t, empty) })
	}
}

// openTells truncates a file after it was copied, and lets the follower see it empty.
func openTells(t *testing.T, empty bool) {
	r := newRig(t)
	old, anew := strings.Repeat("old ", 1000)+"\n", strings.Repeat("new ", 900)+"\n"
	r.append("a.log", old).run()
	waittest.Until(t, "the old content is kept", func() bool { return strings.Count(r.collector.lines(), "old") == 1000 })
	if err := os.WriteFile(r.path("a.log.1"), []byte(old), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(r.path("a.log"), 0); err != nil {
		t.Fatal(err)
	}
	if empty {
		r.await(func() bool { return r.tailer.Counts()["truncated_files"] == 1 })
	}
	r.append("a.log", anew)
	waittest.Until(t, "the new content is kept", func() bool { return strings.Count(r.collector.lines(), "new") == 900 })
	r.collector.mu.Lock()
	defer r.collector.mu.Unlock()
	for id, m := range r.collector.watermarks {
		if m.Offset != int64(len(anew)) {
			continue
		}
		told, err := parseIdentity(r.collector.ident[id])
		if err != nil || !told.head.begins(headsOf([]byte(anew))) {
			t.Errorf("the collector learned a beginning that is not the file's: %+v, %v", told.head, err)
		}
		return
	}
	t.Error("no stream has the new content")
}
