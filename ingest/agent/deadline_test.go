package agent

import (
	"testing"
	"time"
)

// A deadline is set when the one there is is too early, or later than it may be.
func TestDeadline(t *testing.T) {
	const slack = time.Second
	var d deadline
	begin := time.Now()
	for _, row := range []struct {
		at, want time.Duration
		change   bool
	}{
		{15 * time.Second, 16 * time.Second, true},
		{15500 * time.Millisecond, 16 * time.Second, false},
		{16 * time.Second, 16 * time.Second, false},
		{16001 * time.Millisecond, 17001 * time.Millisecond, true},
		{7 * time.Second, 8 * time.Second, true}, // inside a frame
		{22 * time.Second, 23 * time.Second, true},
	} {
		to, change := d.move(begin.Add(row.at), slack)
		if to.Sub(begin) != row.want || change != row.change {
			t.Errorf("for %v: %v, %v", row.at, to.Sub(begin), change)
		}
	}
}
