package main

import (
	"testing"
	"time"
)

// TestAttacks lives a little of each attack through: a paced agent gets on, the collector stays ready and
// can rotate, and neither its memory nor the log grows by more than it may. How well the agent fares says
// the program, on a machine that has nothing else to do.
func TestAttacks(t *testing.T) {
	var quiet result
	err := measure(2*time.Second, "", defaultDescriptors, result.safe, func(r result, good bool) {
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
