//go:build !windows

package tail

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// memoryInUse returns the bytes of live objects and of stacks. Each run of the garbage collector
// makes stacks smaller by half at most.
func memoryInUse() int64 {
	for range 4 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// TestIdleFileMemory: a file that is idle keeps no block, and only a small stack. It took 22 KiB.
func TestIdleFileMemory(t *testing.T) {
	if slowness > 1 {
		t.Skip("the race detector needs memory, too")
	}
	const files, most = 500, 14 << 10
	r := newRig(t)
	r.change = func(t *Tailer) { t.Poll = 20 * time.Millisecond }
	for i := range files {
		r.append(fmt.Sprintf("app%d.log", i), fmt.Sprintf("a line of file %d\nanother one\n", i))
	}
	before := memoryInUse()
	r.run().drained(files)
	r.polled(10) // so that all are idle
	each := (memoryInUse() - before) / files
	t.Logf("an idle file takes %d bytes", each)
	if each > most {
		t.Errorf("an idle file takes %d bytes, want at most %d", each, most)
	}
}
