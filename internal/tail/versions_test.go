//go:build !windows

package tail

import (
	"strings"
	"testing"
)

// TestCopyOfVersion: a longer version of a file goes on with its stream, and is copied and truncated before all of it
// is sent. The stream goes on in the copy, which does not wait until the version loses its name.
func TestCopyOfVersion(t *testing.T) {
	onClock(t, func(r *clocked) {
		text := numbered("line", 300)
		r.write("a.log", text).look().look().write("new", text+"1\n").move("new", "a.log").look()
		r.write("a.log", "2\n").copy("a.log", "b.log").cut("a.log").keeps(text + "1 2")
	})
}

// TestTakeOverIsDurable: when a stream goes on in a longer version of its file, the saved positions on the disk say
// that: the version may be truncated and renamed while no process runs.
func TestTakeOverIsDurable(t *testing.T) {
	onClock(t, func(r *clocked) {
		text := numbered("line", 300)
		r.write("a.log", text).look().look().look().write("new", text+"1\n").move("new", "a.log")
		for !strings.Contains(r.collector.lines(), " 1") {
			r.tick()
		}
		r.killed().cut("a.log").write("a.log", "2\n").move("a.log", "old").away(false).started().keeps(text + "1 2")
	})
}
