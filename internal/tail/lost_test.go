//go:build !windows

package tail

import (
	"maps"
	"os"
	"slices"
	"sync/atomic"
	"testing"

	"fanin/internal/wire"
)

// TestAnswerLeavesATrail: an answer is lost, and the collector says that it has what was sent. A copy that was made
// before that is known by the place that was acknowledged until then.
func TestAnswerLeavesATrail(t *testing.T) {
	onClock(t, func(r *clocked) {
		text, more := numbered("line", 300), numbered("more", 900)
		var lose atomic.Bool
		r.collector.failing = func(b wire.Batch) error {
			if b.Op == wire.OpData && lose.Swap(false) {
				return errConnection
			}
			return nil
		}
		r.write("a.log", text).look().look().copy("a.log", "a-1.log")
		lose.Store(true)
		r.write("a.log", more).look().look().look().cut("a.log").write("a.log", "9\n").keeps(text + more + "9")
	})
}

// TestLostTextIsRemembered: a copy lacks the end of what was sent of a file, which is truncated and goes on in a new
// epoch. The agent ends before it sends the copy. The next one does, which is counted: the saved position says what was
// lost, or it is older than the epoch that the collector has.
func TestLostTextIsRemembered(t *testing.T) {
	ends := map[string]func(*clocked) *clocked{
		"stopped":      (*clocked).stopped,
		"killed":       (*clocked).killed,
		"saved before": func(r *clocked) *clocked { r.tailer.positions.write(false); return r.killed() },
		"saved long before": func(r *clocked) *clocked {
			all := slices.Collect(maps.Values(r.tailer.positions.all()))
			for i, m := range all {
				first := *m
				first.Epoch, first.Point, first.Sent, first.Start, first.Former = 1, wire.Point{}, 0, true, savedText{}
				all[i] = &first
			}
			r.killed()
			if err := os.WriteFile(r.tailer.positions.path, formatPositions(all, true), 0o640); err != nil {
				r.Fatal(err)
			}
			return r
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			onClock(t, func(r *clocked) {
				text, more := numbered("line", 300), numbered("more", 900)
				var epoch atomic.Uint32
				r.collector.failing = func(b wire.Batch) error {
					epoch.Store(max(epoch.Load(), b.Epoch))
					return nil
				}
				r.write("a.log", text+more).look().look().look().write("a-1.log", text).look()
				r.cut("a.log").write("a.log", "9\n").follower("a.log").notify() // it sees that before the copy's does
				for epoch.Load() < 2 {
					r.tick()
				}
				end(r).away(false).started().keeps(text + text + more + "9")
				r.counts("unsure_files", 1).counts("maybe_doubled_bytes", uint64(len(text)))
			})
		})
	}
}
