package tail

import (
	"strings"
	"testing"
)

// TestLongLastLine: the last line of a file that will not grow is one line, though it does
// not fit into the block that it is read into at first.
func TestLongLastLine(t *testing.T) {
	r := newRig(t)
	r.change = func(t *Tailer) { t.Tables[0].Whole = true }
	long := strings.Repeat("x", firstBlock+50_000)
	r.append("a.log", "first\n"+long).run().expect("first " + long)
}
