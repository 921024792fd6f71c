package pace

import (
	"os"
	"testing"
	"time"
)

// TestGovernor: dispatchers pause for a writer that is busy while no processor is idle, only
// then, and continue when that is over.
func TestGovernor(t *testing.T) {
	var worked time.Duration
	var idle, all int64
	known := true
	g := Governor{worked: func() time.Duration { return worked }, idle: func() (int64, int64, bool) { return idle, all, known }}
	now := time.Now()
	// for a second: the share of its time that the writer works, and that
	// processors are idle.
	second := func(busy, free float64) (pace float64) {
		for range 20 {
			now = now.Add(governEvery)
			worked += time.Duration(busy * float64(governEvery))
			all += 1000
			idle += int64(1000 * free)
			pace = g.look(now)
		}
		return pace
	}
	for _, c := range []struct {
		busy, free  float64
		least, most float64
	}{
		{0, 0, 0, 0},                           // nothing is taken: there is nothing to give way to
		{1, 0.5, 0, 0},                         // enough for both
		{1, 0, maxPace, maxPace},               // a flood
		{1, 0.5, 0, maxPace / 20},              // it eases
		{0.1, 0, maxPace / 101, maxPace / 99.}, // an ordinary stream on a busy machine
		{0, 0, 0, 0},                           // and it is over
	} {
		if pace := second(c.busy, c.free); pace < c.least || pace > c.most {
			t.Errorf("writer busy %v, processors idle %v: pace %v; want %v to %v", c.busy, c.free, pace, c.least, c.most)
		}
	}
	second(1, 0)
	known = false
	if pace := second(1, 0); pace != 0 {
		t.Errorf("where it is not known, pace %v", pace)
	}
}

func TestProcessors(t *testing.T) {
	if _, err := os.Stat("/proc/stat"); err != nil {
		t.Skip("no /proc/stat")
	}
	idle, all, ok := processors()
	if !ok || all <= 0 || idle <= 0 || idle > all {
		t.Errorf("idle %d of %d, %v", idle, all, ok)
	}
}
