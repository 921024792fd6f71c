package disk

import (
	"os"
	"path/filepath"
	"testing"
)

// Each sync is measured, and nothing is left.
func TestMeasureSync(t *testing.T) {
	dir := t.TempDir()
	times, err := MeasureSync(dir, 3)
	if err != nil || len(times) != 3 || times[0] <= 0 {
		t.Errorf("measured %v, %v", times, err)
	}
	if list, _ := os.ReadDir(dir); len(list) > 0 {
		t.Errorf("it left %v", list)
	}
	if times, err := MeasureSync(filepath.Join(dir, "none"), 3); err == nil {
		t.Errorf("without a directory it measured %v", times)
	}
}
