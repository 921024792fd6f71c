package main

import (
	"testing"
	"time"
)

// TestAttacks lives a little of each attack through: a paced agent keeps its rate
// and is answered in time, the collector stays ready and can rotate, and the log
// does not grow by more than what was sent may stand for.
func TestAttacks(t *testing.T) {
	var quiet result
	err := measure(2*time.Second, "", defaultDescriptors, func(r result, good bool) {
		t.Log(r)
		if r.name == "none" {
			quiet = r
			return
		}
		if !good {
			t.Errorf("%v\nand without it: %v", r, quiet)
		}
		if r.connected == 0 && r.sent == 0 {
			t.Errorf("%s: nothing was tested", r.name)
		}
		if most := 256*r.sent + 1<<20; r.kept > most {
			t.Errorf("%s: %d bytes became %d bytes of log", r.name, r.sent, r.kept)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}
