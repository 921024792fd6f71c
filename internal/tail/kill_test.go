package tail

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanin/internal/wire"
)

// killed is a rig whose agent is killed at one of its calls to the collector.
type killed struct {
	*rig
	at        int    // the call, from 1
	stored    bool   // the collector accepts that call, and the answer is lost
	calls     int    // so far
	dead      bool   // under collector.mu
	positions []byte // as they were on the disk then; nil: there were none
	written   time.Time
}

var errKilled = errors.New("killed")

// arm sets the moment of the kill.
func (k *killed) arm() {
	kill := func() error {
		k.dead = true
		path := filepath.Join(k.state, "marks")
		k.positions, _ = os.ReadFile(path) // an error: there are none yet
		if fi, err := os.Stat(path); err == nil {
			k.written = fi.ModTime()
		}
		return errKilled
	}
	k.collector.fail = func(wire.Batch) error {
		if k.dead {
			return errKilled
		}
		if k.calls++; k.calls == k.at && !k.stored {
			return kill()
		}
		return nil
	}
	k.collector.failing = func(wire.Batch) error {
		if k.calls == k.at {
			return kill()
		}
		return nil
	}
}

// atEachCall kills an agent at one call after another, from the first on. run is one run; it returns false if it ended
// before the kill.
func atEachCall(t *testing.T, first int, run func(at int) bool) {
	t.Helper()
	at := first
	for ; run(at); at++ {
	}
	if at == first {
		t.Error("the agent was never killed")
	}
}

// isDead reports whether the agent was killed.
func (k *killed) isDead() bool {
	k.collector.mu.Lock()
	defer k.collector.mu.Unlock()
	return k.dead
}

// settle waits until these lines are accepted, or the agent was killed.
func (k *killed) settle(want string) {
	k.Helper()
	if k.stop == nil {
		return
	}
	k.await(func() bool {
		return k.isDead() || difference(strings.Fields(k.collector.lines()), strings.Fields(want)) == ""
	})
	if k.isDead() {
		k.end()
	}
}

// end stops the agent and reports whether it was killed before or meanwhile; then
// nothing of its last moments is left.
func (k *killed) end() bool {
	k.Helper()
	k.halt()
	if !k.isDead() {
		return false
	}
	path := filepath.Join(k.state, "marks")
	if k.positions == nil {
		os.Remove(path)
	} else if err := os.WriteFile(path, k.positions, 0o640); err != nil {
		k.Fatal(err)
	} else if err := os.Chtimes(path, k.written, k.written); err != nil {
		k.Fatal(err)
	}
	return true
}

// dropHandles makes the collector know files by inode and content only, as on file
// systems without handles.
func (c *collector) dropHandles(t *testing.T) {
	for stream, b := range c.ident {
		id, err := parseIdentity(b)
		if err != nil {
			t.Fatal(err)
		}
		id.handle = nil
		c.ident[stream] = id.append(nil)
	}
}

// longLines makes the lines from one number to another, two of which are enough to
// recognize a file.
func longLines(from, to int) string {
	var b strings.Builder
	for i := from; i <= to; i++ {
		fmt.Fprintf(&b, "%d-%s\n", i, strings.Repeat(string(rune('a'+i)), 700))
	}
	return b.String()
}

// TestCopyTruncateKilledAtEachCall: files are copied and truncated, twice, and the agent
// is killed at each of its calls to the collector, with its state or without. The next
// agent sends what is left, once. Without state it relies on what the collector knows of
// how each file began, so that must be true whenever a stream is opened.
func TestCopyTruncateKilledAtEachCall(t *testing.T) {
	for _, state := range []string{"kept", "lost", "lost, no handles"} {
		for _, stored := range []bool{true, false} {
			t.Run(fmt.Sprintf("state %s, answer lost %v", state, stored), func(t *testing.T) {
				t.Parallel()
				atEachCall(t, 1, func(at int) bool { return copyTruncateKilled(t, state, at, stored) })
			})
		}
	}
}

// copyTruncateKilled is one run; it returns false if it ended before the kill.
func copyTruncateKilled(t *testing.T, state string, at int, stored bool) bool {
	k := &killed{rig: newRig(t), at: at, stored: stored}
	k.arm()
	k.append("a.log", longLines(1, 2)).run()
	k.settle(longLines(1, 2))
	k.append("a.log", longLines(3, 3)).copyTruncate("a.log", "a.log.1").append("a.log", longLines(4, 5))
	k.settle(longLines(1, 5))
	k.rename("a.log.1", "a.log.2").copyTruncate("a.log", "a.log.1").append("a.log", longLines(6, 7))
	k.settle(longLines(1, 7))
	if !k.end() { // a file may still be opened after the last line was accepted
		return false
	}
	if state != "kept" {
		k.state = t.TempDir()
	}
	if state == "lost, no handles" {
		k.collector.dropHandles(t)
	}
	k.collector.fail, k.collector.failing = nil, nil
	k.run().expectSet(longLines(1, 7)).append("a.log", longLines(8, 8)).expectSet(longLines(1, 8))
	k.drained(3).expectSet(longLines(1, 8))
	k.halt()
	return true
}
