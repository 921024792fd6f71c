package tail

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"fanin/internal/wire"
)

// TestPositionsDeleted: a file of saved positions that was deleted is written again, though no
// saved position has changed; never into a directory that is another agent's by now.
func TestPositionsDeleted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	m, first, err := openPositions(nil, dir, slog.New(slog.DiscardHandler))
	if err != nil || !first {
		t.Fatalf("first %v, %v", first, err)
	}
	if err := m.write(false); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(m.path); err == nil {
		t.Fatal("marks are written before there is one")
	}
	m.put(&savedPosition{Stream: wire.NewStreamID(), Point: wire.Point{Offset: 7}})
	for _, deleted := range []string{"", m.path, dir} {
		if deleted != "" {
			if err := os.RemoveAll(deleted); err != nil {
				t.Fatal(err)
			}
		}
		if deleted == dir {
			if m.write(false) == nil {
				t.Error("written into a directory that is not there")
			}
			if err := os.Mkdir(dir, 0o750); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.write(false); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(m.path)
		if err != nil {
			t.Fatalf("after %q was deleted: %v", deleted, err)
		}
		if list, err := parsePositions(b); err != nil || len(list) != 1 || list[0].Offset != 7 {
			t.Fatalf("after %q was deleted: %+v, %v", deleted, list, err)
		}
	}
	if err := os.Remove(m.path); err != nil {
		t.Fatal(err)
	}
	m.abandon()
	if err := m.write(false); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(m.path); err == nil {
		t.Error("marks are written into another agent's directory")
	}
}

// TestPositionsGolden pins the file of saved positions: testdata/marks.golden has a position without the optional keys,
// as an older version wrote it, and one with all of them.
func TestPositionsGolden(t *testing.T) {
	golden, err := os.ReadFile(filepath.Join("testdata", "marks.golden"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := parsePositions(golden)
	if err != nil || len(list) != 2 {
		t.Fatalf("%d were read: %v", len(list), err)
	}
	former := savedText{End: 70, Seen: 1764000000000000002, Path: "/var/log/a.log", Now: "/var/log/b.log", HeadBits: 7, Head: 8}
	if got := list[0].Former; got != (savedText{}) || list[0].Former.lost().past != nil {
		t.Errorf("the older one lost %+v", got)
	}
	if got := list[1].Former; got != former {
		t.Errorf("the newer one lost %+v", got)
	}
	lost := list[1].Former.lost()
	if again := lost.saved(); again != former {
		t.Errorf("it is saved as %+v", again)
	}
	if got := formatPositions(list, true); string(got) != string(golden) {
		t.Errorf("they are written as\n%s", got)
	}
}
