package tail

import (
	"os"
	"strings"
	"testing"
	"time"
)

// What the collector is told of a file's beginning when a stream is opened is how
// the file begins then: after it was copied and truncated, not how it began before.
// An agent that is killed before it writes its marks goes by that.
func TestOpenTellsHowTheFileBeginsNow(t *testing.T) {
	r := newRig(t)
	old, anew := strings.Repeat("old ", 1000)+"\n", strings.Repeat("new ", 900)+"\n"
	r.append("a.log", old).run()
	until(t, "the old content is kept", func() bool { return strings.Count(r.collector.lines(), "old") == 1000 })
	if err := os.WriteFile(r.path("a.log.1"), []byte(old), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(r.path("a.log"), 0); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // the follower may see it empty, or not
	r.append("a.log", anew)
	until(t, "the new content is kept", func() bool { return strings.Count(r.collector.lines(), "new") == 900 })
	r.collector.mu.Lock()
	defer r.collector.mu.Unlock()
	for id, m := range r.collector.marks {
		if m.Offset != int64(len(anew)) {
			continue
		}
		told, err := parseIdentity(r.collector.ident[id])
		if err != nil || !told.head.begins(headsOf([]byte(anew))) {
			t.Errorf("the collector was told of a beginning that is not the file's: %+v, %v", told.head, err)
		}
		return
	}
	t.Error("no stream has the new content")
}
