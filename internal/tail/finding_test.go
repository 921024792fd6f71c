package tail

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanin/internal/wire"
)

// aged makes a file as old as if nothing was written to it for this long.
func (r *rig) aged(name string, by time.Duration) *rig {
	r.Helper()
	then := time.Now().Add(-by)
	if err := os.Chtimes(r.path(name), then, then); err != nil {
		r.Fatal(err)
	}
	return r
}

// TestIgnoreOlder: an old file is not opened, and is a new one when it is written to.
func TestIgnoreOlder(t *testing.T) {
	r := newRig(t).append("old.log", "1\n2\n").aged("old.log", 2*time.Hour).append("new.log", "3\n").append("end.log", "4\n").aged("end.log", 2*time.Hour)
	r.change = func(t *Tailer) {
		t.Tables = []Table{{Paths: []string{r.path("end.log")}, IgnoreOlder: time.Hour, FromEnd: true}, {Paths: []string{r.path("*.log")}, Exclude: []string{"end.log"}, IgnoreOlder: time.Hour}}
	}
	r.run().expect("3").polled(5).expect("3")
	if n, ignored := len(r.tailer.Status()), r.tailer.Counts()["ignored_files"]; n != 1 || ignored != 2 {
		t.Errorf("%d files are followed and %d ignored; want 1 and 2", n, ignored)
	}
	r.append("old.log", "5\n").expect("3 1 2 5")
	r.append("end.log", "6\n").expect("3 1 2 5 6")
	r.await(func() bool { return r.tailer.Counts()["ignored_files"] == 0 })
}

// TestIgnoreOlderKeepsTheBegun: what was begun is sent to its end, however old it is: while the
// agent runs, after a restart with and without its state, and after a rotation meanwhile.
func TestIgnoreOlderKeepsTheBegun(t *testing.T) {
	all := strings.Repeat("x", 2000) // enough to know the file by its content
	for _, name := range []string{"a.log", "a.log.1", "out of sight"} {
		for _, keepState := range []bool{true, false} {
			r := newRig(t).append("a.log", all+"\n").append("b.log", "b\n")
			r.change = func(t *Tailer) { t.Tables[0].IgnoreOlder = time.Hour }
			r.aged("a.log", 10*time.Minute).run().expectSet(all + " b")
			r.append("a.log", "2\n").aged("a.log", 2*time.Hour).expectSet(all + " b 2")
			r.halt()
			r.append("a.log", "3\n").append("c.log", "c\n").aged("a.log", 2*time.Hour).aged("c.log", 2*time.Hour)
			if name != "a.log" {
				r.rename("a.log", name)
			}
			if !keepState {
				r.state = t.TempDir()
			}
			r.run().expectSet(all + " b 2 3").polled(10).expectSet(all + " b 2 3")
		}
	}
}

// TestFollowAtMost: files beyond the limit wait, none that is followed gives way, and they get
// their turn when others are done.
func TestFollowAtMost(t *testing.T) {
	r := newRig(t).append("a.log", "a\n").append("b.log", "b\n").append("c.log", "c\n")
	r.change = func(t *Tailer) { t.Follow = 2 }
	r.run().await(func() bool { return len(r.collector.lines()) == len("a b") }).polled(10)
	followed := strings.Fields(r.collector.lines())
	if waiting := r.tailer.Counts()["waiting_files"]; waiting != 1 || len(followed) != 2 {
		t.Errorf("%d files wait, and %q are sent", waiting, followed)
	}
	first, second, third := followed[0], followed[1], strings.Trim("abc", strings.Join(followed, ""))
	r.append(second+".log", "2\n").expectSet("2 " + first + " " + second)
	os.Remove(r.path(first + ".log"))
	r.expectSet("2 a b c").await(func() bool { return r.tailer.Counts()["waiting_files"] == 0 && r.ended() == 1 })
	r.halt()                                                                                                              // when the deleted one is done: its inode may be another file's now
	r.append(first+".log", "5\n").append(second+".log", "6\n").append(third+".log", "7\n").run().expectSet("2 a b c 6 7") // those that were begun
}

// TestRefusedOnce: a file that is no log is not opened at each look, and is looked at again when it
// changes.
func TestRefusedOnce(t *testing.T) {
	r := newRig(t).append("a.log", "\x1f\x8b\x08\x00\x00").append("b.log", "1\n").run().expect("1").polled(5)
	if n := r.tailer.Counts()["unfit_files"]; n != 1 {
		t.Errorf("%d files are refused", n)
	}
	if err := os.WriteFile(r.path("a.log"), []byte("2\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	r.expect("1 2")
}

// TestUnfollowedIsGone: a file that was refused and is gone is not listed any more.
func TestUnfollowedIsGone(t *testing.T) {
	r := newRig(t).append("a.log", "\x1f\x8b\x08\x00\x00").append("b.log", "1\n").run().expect("1")
	if n := len(r.tailer.Unfollowed()); n != 1 {
		t.Errorf("%d files are not followed", n)
	}
	if err := os.Remove(r.path("a.log")); err != nil {
		t.Fatal(err)
	}
	if n := len(r.tailer.Unfollowed()); n != 0 {
		t.Errorf("%d files are not followed, and gone", n)
	}
}

// TestCutLook: a look that cannot read all directories finds no file twice and loses none that is
// followed, and one that is ended concludes nothing.
func TestCutLook(t *testing.T) {
	r := newRig(t).append("a.log", "1\n").run().expect("1")
	r.halt()
	tl := r.tailer
	tl.mu.Lock()
	tl.defaults()
	tl.mu.Unlock()
	tl.positions = &savedPositions{list: make(map[wire.StreamID]*savedPosition)}
	f, err := tl.open(candidateAt(t, r.path("a.log")))
	if err != nil {
		t.Fatal(err)
	}
	defer f.file.close()
	tl.mu.Lock()
	tl.addLocked(f)
	tl.mu.Unlock()
	ended, end := context.WithCancel(t.Context())
	end()
	if s := tl.look(ended); !s.broken || f.isHidden() {
		t.Errorf("a look that ended says broken %v, hidden %v", s.broken, f.isHidden())
	}
	if _, visible := tl.stillNamed(f); !visible {
		t.Error("a file that is where it was counts as gone")
	}
	if err := os.Remove(r.path("a.log")); err != nil {
		t.Fatal(err)
	}
	if _, visible := tl.stillNamed(f); visible {
		t.Error("a file that is gone counts as there")
	}
	tree(t, r.dir, "d/e/x.log", "d/f/x.log")
	s := &sight{dirs: make(map[string]bool), whole: true, read: mostDirectories - 2}
	found := 0
	if err := s.glob(filepath.Join(r.dir, "**/x.log"), nil, func(string) { found++ }); err != nil || !s.cut || found > 1 {
		t.Errorf("beyond its bound a look found %d files, cut %v, %v", found, s.cut, err)
	}
}

func candidateAt(t testing.TB, path string) candidate {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return candidate{path: path, table: &Table{}, key: keyOf(fi), info: fi}
}

// TestSource: what the parts of a source stand for, and what none is.
func TestSource(t *testing.T) {
	long := strings.Repeat("d", 200)
	for _, c := range []struct{ source, path, want string }{
		{"", "/var/log/app.log", "app"}, {"", "/var/log/fanin.log", "fanin.log"}, {"", "/var/log/fanin", "fanin_"}, {"", "/app.log.1", "app.log.1"},
		{"fix", "/var/log/app.log", "fix"}, {"{dir}/{name}", "/var/log/shop/web/access.log", "web/access"}, {"{parent}-{dir}-{file}", "/var/log/shop/web/access.log", "shop-web-access.log"},
		{"{path}", "/a/b.log", "/a/b.log"}, {"{dir}", "/b.log", ""}, {"{dir}", "/x/fanin/b.log", "fanin_"}, {"{{{name}}", "/a/b.log", "{b}"},
		{"{dir}/{file}", "/" + long + "/" + long, long[:54] + "/" + long},
	} {
		if got := (&Table{Source: c.source}).source(c.path); got != c.want || len(got) > wire.MaxName {
			t.Errorf("%q of %s is %q, want %q", c.source, c.path, got, c.want)
		}
	}
	for _, bad := range []string{"{", "{dir", "{}", "{Dir}", "a{x}b", "fanin", "{dir}{"} {
		if err := CheckSource(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// TestSourceOfParts: lines have the source of their file's path, and keep it when the file is
// renamed.
func TestSourceOfParts(t *testing.T) {
	r := newRig(t)
	r.collector.labels = true
	r.change = func(t *Tailer) {
		t.Tables[0].Source, t.Tables[0].Paths = "{dir}/{name}", []string{filepath.Join(r.dir, "**", "*.log*")}
	}
	tree(t, r.dir, "web/a.log", "web/in/b.log")
	r.run().expectSet("web/a:x in/b:x")
	r.append("web/a.log", "y\n").rename("web/a.log", "web/a.log.1").append("web/a.log", "z\n").expectSet("web/a:x in/b:x web/a:y web/a:z")
}

// BenchmarkDeepLook looks for few files among very many, below a **.
func BenchmarkDeepLook(b *testing.B) {
	root := b.TempDir()
	for i := range 1000 {
		dir := filepath.Join(root, fmt.Sprintf("%d/%d", i/100, i))
		if err := os.MkdirAll(dir, 0o750); err != nil {
			b.Fatal(err)
		}
		for j := range 100 {
			f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%d.dat", j)))
			if err != nil {
				b.Fatal(err)
			}
			f.Close()
		}
	}
	tree(b, root, "5/x.log")
	b.ReportAllocs()
	for b.Loop() {
		s := &sight{dirs: make(map[string]bool), whole: true}
		s.glob(filepath.Join(root, "**", "*.log"), nil, func(string) {})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_000, "ns/entry")
}
