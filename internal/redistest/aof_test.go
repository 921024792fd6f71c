package redistest

import (
	"os"
	"path/filepath"
	"testing"
)

// TestRepairAOF: what a server acknowledges after a kill inside of a transaction is there after
// the next kill.
func TestRepairAOF(t *testing.T) {
	s := New(t, "appendonly yes", "appendfsync always")
	s.Do("SET", "before", "1")
	s.Kill()
	files, err := filepath.Glob(filepath.Join(s.Dir(), "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	f, err := os.OpenFile(files[0], os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n*3\r\n$3\r\nSE")
	f.Close()
	s.Start()
	s.Do("SET", "after", "1")
	s.Kill()
	s.Start()
	if got := s.Do("MGET", "before", "after"); got != "1\n1" {
		t.Errorf("the server has %q", got)
	}
}
