package sink

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestVerifySums: what one mishap did to a whole file is told in at most three lines
// for each kind, with how many there are in all.
func TestVerifySums(t *testing.T) {
	f := func(name string, damage func(path string) error, problems, found int, want string) {
		t.Run(name, func(t *testing.T) {
			s := open(t, &Sink{Retention: RetentionPolicy{Compress: "none"}})
			src := newSource()
			for i := range 400 {
				src.send(t, s, fmt.Sprint("line ", i))
			}
			must(t, s.Close(context.Background()), damage(s.Path))
			r, err := Verify(context.Background(), s.Path, "")
			if err != nil || len(r.Problems) != problems || r.Found != found || !strings.Contains(strings.Join(r.Problems, "\n"), want) {
				t.Errorf("%v; %d problems, told in\n%s", err, r.Found, strings.Join(r.Problems, "\n"))
			}
		})
	}
	text := func(path string) []byte {
		b, err := os.ReadFile(path)
		must(t, err)
		return b
	}
	f("truncated", func(path string) error {
		lines := strings.SplitAfter(string(text(path)), "\n")
		return os.Truncate(path, int64(len(strings.Join(lines[:100], ""))+7))
	}, 1, 1, "another program truncated it; 300 committed lines are gone")
	f("emptied", func(path string) error { return os.Truncate(path, 0) }, 1, 1, "ends at byte 0 and had")
	f("overwritten", func(path string) error {
		return os.WriteFile(path, []byte(strings.ReplaceAll(string(text(path)), "line", "lime")), 0o640)
	}, 3, 400, filepath.Base("all.log")+": and 398 more of this kind: the ... lines from byte ... are not what was committed")
}
