package fanin_test

import (
	"os"
	"path/filepath"
	"testing"
)

// Both programs stay small: they are copied to every host.
func TestProgramSizes(t *testing.T) {
	for name, most := range map[string]int64{"fanin-collector": 30e6, "fanin-agent": 20e6} {
		fi, err := os.Stat(filepath.Join(programDir(t), name))
		if err != nil {
			t.Fatal(err)
		}
		if fi.Size() > most {
			t.Errorf("%s has %d bytes; at most %d", name, fi.Size(), most)
		}
	}
}
