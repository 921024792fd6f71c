package pace

import (
	"testing"
	"time"
)

// TestGovernor: dispatchers pause for a writer that is busy while no processor is idle that the
// process may use, only then, and continue when that is over.
func TestGovernor(t *testing.T) {
	var worked time.Duration
	u := usage{may: 1, known: true}
	const most = 300
	g := New(func() time.Duration { return worked }, most)
	g.read = func() usage { return u }
	now := time.Now()
	// for a second: the share of its time that the writer works, that processors are idle, and
	// that this process uses of what it may.
	second := func(busy, free, used float64) (pace float64) {
		for range 20 {
			now = now.Add(governEvery)
			worked += time.Duration(busy * float64(governEvery))
			u.all += 1000
			u.idle += int64(1000 * free)
			u.used += time.Duration(used * u.may * float64(governEvery))
			pace = g.look(now)
		}
		return pace
	}
	for _, c := range []struct {
		may, busy, free, used float64
		least, top            float64
	}{
		{1, 0, 0, 0, 0, 0},                      // nothing is taken: there is nothing to give way to
		{1, 1, 0.5, 0.5, 0, 0},                  // enough for both
		{1, 1, 0, 0.5, most, most},              // a flood, and others use the machine
		{1, 1, 0.5, 0.5, 0, most / 20},          // it eases
		{1, 1, 0.5, 0.95, most, most},           // this process may use one processor of two
		{1, 1, 0.5, 0.5, 0, most / 20},          // it eases
		{0.5, 1, 0.8, 0.95, most, most},         // or the half of one
		{8, 1, 0.5, 0.12, 0, most / 20},         // one of eight is no lack
		{1, 0.1, 0, 0.5, most / 101, most / 99}, // an ordinary stream on a busy machine
		{1, 0, 0, 0, 0, 0},                      // and it is over
	} {
		u.may = c.may
		if pace := second(c.busy, c.free, c.used); pace < c.least || pace > c.top {
			t.Errorf("may %v, writer busy %v, processors idle %v, used %v: pace %v; want %v to %v",
				c.may, c.busy, c.free, c.used, pace, c.least, c.top)
		}
	}
	second(1, 0, 1)
	u.known = false
	if pace := second(1, 0, 1); pace != 0 {
		t.Errorf("where it is not known, pace %v", pace)
	}
}

// TestReadUsage: what this process uses is read from the machine.
func TestReadUsage(t *testing.T) {
	before, began := readUsage(), time.Now()
	if !before.known {
		t.Skip("not known here")
	}
	for time.Since(began) < 100*time.Millisecond { // uses a processor
	}
	after := readUsage()
	if after.used <= before.used || after.all <= before.all || after.may <= 0 {
		t.Errorf("%+v, then %+v", before, after)
	}
	if free := after.free(before, time.Since(began)); free < 0 && free < 1-2/after.may || free >= 1 {
		t.Errorf("free %v", free)
	}
}

// TestKeepUp: what must not fall behind has a tenth of a processor, however busy the writer is.
func TestKeepUp(t *testing.T) {
	var worked time.Duration
	u := usage{may: 1, known: true}
	g := New(func() time.Duration { return worked }, KeepUp)
	g.read = func() usage { return u }
	now := time.Now()
	pace := 0.0
	for range 20 {
		now, worked = now.Add(governEvery), worked+governEvery
		u.all, u.used = u.all+1000, u.used+governEvery
		pace = g.look(now)
	}
	if share := 1 / (1 + pace); share < 0.0999 || share > 0.11 {
		t.Errorf("it has %.3f of a processor, want a tenth", share)
	}
}
