package sink

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestNoticeAtTheEnd: a notice that was posted before the log is closed is in it.
func TestNoticeAtTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "all.log")
	for i := range 20 {
		s := &Sink{Path: path, Sync: "none"}
		if err := s.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.Notice("NOTE round=%d", i)
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); err != nil || bytes.Count(b, []byte(" fanin: NOTE round=")) != i+1 {
			t.Fatalf("after round %d the log is %q, %v", i, b, err)
		}
	}
}
