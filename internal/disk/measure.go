package disk

import (
	"os"
	"time"
)

// MeasureSync writes a file in dir n times, 4 KiB each, and returns how long each sync took. The
// file is removed.
func MeasureSync(dir string, n int) (times []time.Duration, err error) {
	f, err := os.CreateTemp(dir, ".fanin-check-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, 4<<10)
	for range n {
		if _, err = f.Write(block); err != nil {
			return nil, err
		}
		start := time.Now()
		if err = Sync(f); err != nil {
			return nil, err
		}
		times = append(times, time.Since(start))
	}
	return times, nil
}
