package daemon

import (
	"testing"
	"time"

	"fanin/internal/machine"
)

// TestUse: one processor is enough for a process that was quiet for some time, until it is busy.
func TestUse(t *testing.T) {
	var u use
	for i, x := range []struct {
		used    time.Duration
		seconds int
		one     bool
	}{
		{0, longQuiet - 1, false},
		{quietTime, 1, false}, // begins again
		{quietTime - 1, longQuiet - 1, false},
		{quietTime - 1, 1, true},
		{busyTime - 1, 100, true}, // stays
		{busyTime, 1, false},
		{quietTime, 100, false}, // stays
		{0, longQuiet - 1, false},
		{0, 1, true},
		{time.Minute, 1, false},
	} {
		for range x.seconds {
			u.note(x.used)
		}
		if u.one != x.one {
			t.Errorf("step %d: one processor %v, want %v", i, u.one, x.one)
		}
	}
}

// TestUsedTime: the time that a process used grows with what it does.
func TestUsedTime(t *testing.T) {
	first, known := machine.Used()
	if !known {
		t.Skip("this system does not tell")
	}
	for {
		if now, _ := machine.Used(); now >= first+time.Millisecond {
			return
		}
	}
}
