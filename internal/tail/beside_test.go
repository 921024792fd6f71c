package tail

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"fanin/internal/disk"
)

// TestNewest: of too many files the newest are kept.
func TestNewest(t *testing.T) {
	dir := t.TempDir()
	tree(t, dir, "old", "new")
	then := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "old"), then, then); err != nil {
		t.Fatal(err)
	}
	info := func(name string) fs.FileInfo {
		fi, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return fi
	}
	older, newer := info("old"), info("new")
	n := newest[fs.FileInfo]{info: func(fi fs.FileInfo) fs.FileInfo { return fi }}
	for range mostBeside - 1 {
		n.add(older)
	}
	n.add(newer)
	if n.trim(); n.cut || len(n.list) != mostBeside {
		t.Errorf("kept %d, cut %v", len(n.list), n.cut)
	}
	for range 3 * mostBeside {
		n.add(older)
	}
	if n.trim(); !n.cut || len(n.list) != mostBeside || n.list[0].Name() != "new" {
		t.Errorf("kept %d, cut %v, first %s", len(n.list), n.cut, n.list[0].Name())
	}
}

// TestLargeDirectory: in a directory with more files than are compared, those that are known are
// found by their inodes, however old they are.
func TestLargeDirectory(t *testing.T) {
	if testing.Short() {
		t.Skip("makes many files")
	}
	r := newRig(t)
	for i := range mostBeside + 10 {
		f, err := os.Create(r.path(fmt.Sprintf("%d.dat", i)))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	r.append("a.log", "1\n").aged("a.log", 100*time.Hour)
	fi, err := os.Stat(r.path("a.log"))
	if err != nil {
		t.Fatal(err)
	}
	tl := &Tailer{}
	tl.index = newIndex()
	s := (&search{t: tl, known: map[uint64]bool{disk.Inode(fi): true}}).read(r.dir)
	if !s.there || !s.cut || len(s.files) != mostBeside+1 || filepath.Base(s.files[0].path) != "a.log" {
		t.Errorf("%d files, cut %v, the first is %s", len(s.files), s.cut, s.files[0].path)
	}
	r.change = func(t *Tailer) { t.Tables[0].Paths = []string{r.path("*.log")} }
	r.run().expect("1")
	r.halt()
	r.append("a.log", "2\n").aged("a.log", 100*time.Hour).rename("a.log", "old").append("a.log", "3\n").run().expectSet("1 2 3").polled(5).expectSet("1 2 3")
}
