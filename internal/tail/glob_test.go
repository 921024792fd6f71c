package tail

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"fanin/internal/wire"
)

// tree makes files, and the directories they need.
func tree(t testing.TB, root string, paths ...string) {
	t.Helper()
	for _, p := range paths {
		path := filepath.Join(root, p)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x\n"), 0o640); err != nil {
			t.Fatal(err)
		}
	}
}

// TestGlob: the same files as filepath.Glob finds, and the directories that decide.
func TestGlob(t *testing.T) {
	root := t.TempDir()
	tree(t, root, "a/1/x.log", "a/2/x.log", "a/2/y.log", "b/1/x.log", "b/1/.hidden.log", "c/x.log", "x.log", "a/[1]/x.log", "d/sub.log/x.log")
	for link, to := range map[string]string{"linked": "a", "x2.log": "x.log", "dangling.log": "nowhere"} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, pattern := range []string{"*.log", "*/*/*.log", "*/1/x.log", "a/*/x.log", "linked/*/x.log", "*/?/[xy].log", "x.log", "none/x.log", "a/none/*.log",
		`a/\[1\]/x.log`, `a/\[1]/*.log`, "d/*", "dangling.log", "*"} {
		s := &sight{dirs: make(map[string]bool), whole: true}
		var got []string
		if err := s.glob(filepath.Join(root, pattern), nil, func(path string) { got = append(got, path) }); err != nil {
			t.Fatal(err)
		}
		want, _ := filepath.Glob(filepath.Join(root, pattern))
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", pattern, got, want)
		}
		for _, path := range got {
			if !s.dirs[filepath.Dir(path)] {
				t.Errorf("%s: %s is not among the directories that decide, %v", pattern, filepath.Dir(path), s.dirs)
			}
		}
	}
	if err := new(sight).glob("[", nil, nil); err == nil {
		t.Error("a pattern that cannot be was taken")
	}
	s := &sight{dirs: make(map[string]bool), whole: true}
	if err := s.glob(filepath.Join(root, "*/1/x.log"), nil, func(string) {}); err != nil || len(s.dirs) != 9 || !s.dirs[root] {
		t.Errorf("%d directories decide, want the root, each beside it and its \"1\": %v", len(s.dirs), s.dirs)
	}
}

// TestNewDirectoryIsFound: below a wildcard, where only its parent was watched.
func TestNewDirectoryIsFound(t *testing.T) {
	r := newRig(t)
	r.change = func(t *Tailer) { t.Tables[0].Paths = []string{filepath.Join(r.dir, "*", "*", "app.log")} }
	tree(t, r.dir, "h1/1/app.log")
	r.run().expect("x")
	tree(t, r.dir, "h2/1/app.log")
	r.expect("x x")
	tree(t, r.dir, "h2/2/app.log")
	r.expect("x x x")
}

// TestPace: what a look costs decides how often it is done.
func TestPace(t *testing.T) {
	for _, c := range []struct {
		name string
		p    pace
		h    hints
		want time.Duration // after which a look is due
	}{
		{name: "cheap, hints for all", p: pace{poll: time.Second, took: time.Millisecond}, h: hints{whole: true}, want: 12 * time.Second},
		{name: "dear, hints for all", p: pace{poll: time.Second, took: 200 * time.Millisecond}, h: hints{whole: true}, want: 20 * time.Second},
		{name: "changed", p: pace{poll: time.Second, took: 200 * time.Millisecond}, h: hints{whole: true, stale: true}, want: 2 * time.Second},
		{name: "changed, very dear", p: pace{poll: time.Second, took: time.Minute}, h: hints{whole: true, stale: true}, want: 12 * time.Second},
		{name: "blind", p: pace{poll: time.Second, took: 200 * time.Millisecond}, want: 10 * time.Second},
		{name: "very dear", p: pace{poll: time.Second, took: time.Hour}, want: longestRest},
	} {
		for _, late := range []bool{false, true} {
			c.p.began = time.Now().Add(-c.want + time.Second/2)
			if late {
				c.p.began = time.Now().Add(-c.want - time.Second/2)
			}
			if got := c.p.due(&c.h); got != late {
				t.Errorf("%s: due %v, want %v", c.name, got, late)
			}
		}
	}
}

// BenchmarkLook looks at many idle files below wildcards.
func BenchmarkLook(b *testing.B) {
	root := b.TempDir()
	for i := range 2000 {
		tree(b, root, fmt.Sprintf("h%d/%d/%d/a.log", i/200, i/20%10, i%20))
	}
	tl := &Tailer{Settings: Settings{Tables: []Table{{Paths: []string{filepath.Join(root, "*/*/*/a.log")}}}, State: b.TempDir(), Out: newCollector(), Lossy: true}}
	tl.defaults()
	tl.positions = &savedPositions{list: make(map[wire.StreamID]*savedPosition)}
	tl.look(b.Context())
	for b.Loop() {
		tl.look(b.Context())
	}
}
