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
