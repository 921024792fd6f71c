package daemon

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// ReturnMemory gives memory that a burst of work needed back to the system once the process is
// quiet, until ctx ends. Without it an idle process keeps that memory: the garbage collector runs
// when much was allocated, and else every two minutes, and only it makes the stacks of goroutines
// smaller, by half each time.
//
// The limit that LimitMemory set grows with what is really used: the garbage collector would run
// without a pause to get below one that cannot be kept.
func ReturnMemory(ctx context.Context) {
	tick := time.NewTicker(returnEvery)
	defer tick.Stop()
	r, least := returning{last: readUse()}, debug.SetMemoryLimit(-1) // which is not changed by that
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		u := readUse()
		debug.SetMemoryLimit(u.limit(least, groupMost()))
		if r.isDue(u) {
			debug.FreeOSMemory()
			r.done(readUse())
		}
	}
}

const (
	returnEvery = 5 * time.Second

	// leastReturn is for how much memory it is worth a run of the garbage collector.
	leastReturn = 3 << 20
)

// memoryUse is what the process uses: bytes of live objects when they were last counted, and of
// stacks; allocated is what was ever allocated.
type memoryUse struct{ allocated, live, stacks uint64 }

// limit returns the limit that leaves the garbage collector room, no less than least, and no more
// than most, 0 if there is no such bound.
func (u memoryUse) limit(least, most int64) int64 {
	const room = 16 << 20
	used := int64(u.live + u.stacks)
	n := max(least, used+used/4+room)
	if most > 0 {
		n = min(n, most)
	}
	return n
}

// returning is what is known of earlier times.
type returning struct {
	last     memoryUse // at the last look
	returned uint64    // what had been allocated when memory was last returned
	again    bool      // that made stacks smaller, and may do so again
}

// isDue reports whether the process is quiet, and has enough memory to return.
func (r *returning) isDue(u memoryUse) bool {
	quiet := u.allocated-r.last.allocated < max(leastReturn, u.live)/2
	r.last = u
	return quiet && (r.again || u.allocated-r.returned >= max(leastReturn, u.live/2))
}

// done notes that memory was returned.
func (r *returning) done(u memoryUse) {
	r.again = u.stacks < r.last.stacks-r.last.stacks/8
	r.last, r.returned = u, u.allocated
}

func readUse() memoryUse {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(s)
	return memoryUse{s[0].Value.Uint64(), s[1].Value.Uint64(), s[2].Value.Uint64()}
}
