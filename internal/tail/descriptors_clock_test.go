//go:build !windows

package tail

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"fanin/internal/wire"
)

// TestNamelessForAMoment: one file may be open at a time. A truncated file waits until its copy is sent, which waits for
// its descriptor; but the file has no name while it is asked to give that away, and has it again at the next look.
func TestNamelessForAMoment(t *testing.T) {
	onClock(t, func(r *clocked) {
		follow := r.change
		r.change = func(t *Tailer) {
			follow(t)
			t.Files = 1
		}
		r.stopped().started()
		r.write("a.log", "1\n").look().look().away(true)
		r.write("a.log", "2\n").copy("a.log", "a.log.1").cut("a.log").write("a.log", "3\n").look()
		away, moved := filepath.Join(t.TempDir(), "a.log"), false
		r.collector.refuse(func(b wire.Batch) error {
			if b.Op == wire.OpOpen && b.Offset == 0 && !moved {
				moved = true
				time.AfterFunc(time.Millisecond, func() { os.Rename(away, r.path("a.log")) })
				return os.Rename(r.path("a.log"), away)
			}
			return nil
		})
		r.keeps("1 2 3")
		if !moved {
			t.Error("the file was not moved: nothing was tested")
		}
	})
}
