package sink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanin/internal/waittest"
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

// TestVerifyRunning: files that a running collector rotates, compresses and removes while
// they are verified are found under the names that they have by then.
func TestVerifyRunning(t *testing.T) {
	s := open(t, &Sink{})
	rotated(t, s, 3)
	waittest.Until(t, "compression", func() bool { return states(s) == "gzip gzip plain live" })
	src := newSource()
	src.send(t, s, "before")
	must(t, s.Checkpoint(t.Context()))

	v := newVerifier(s.Path, s.State)
	must(t, v.read())
	for _, line := range []string{"behind", "next"} { // the live file that v knows becomes an archive
		src.send(t, s, line)
		_, err := s.Rotate(t.Context())
		must(t, err)
	}
	waittest.Until(t, "compression", func() bool { return states(s) == "gzip gzip gzip gzip plain live" })
	must(t, v.files(t.Context()))
	if r := v.report; r.Found != 0 || r.Uncovered != 0 {
		t.Errorf("verify reports %+v", r)
	}
	if read := v.streams; len(read) == 0 {
		t.Error("verify read no stream")
	}

	v = newVerifier(s.Path, s.State)
	must(t, v.read())
	must(t, os.Remove(filepath.Join(filepath.Dir(s.Path), v.catalog.generations[0].name)))
	if err := v.files(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("with a file that is gone: %v", err)
	}
}
