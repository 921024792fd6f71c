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
// The limit that LimitMemory set grows with what is really used, and more while the garbage collector
// takes much of the process's time: it would run without a pause to get below one that cannot be kept.
func ReturnMemory(ctx context.Context) {
	tick := time.NewTicker(returnEvery)
	defer tick.Stop()
	first := readUse()
	limit := debug.SetMemoryLimit(-1) // asks alone
	r, l := returning{last: first}, limiting{least: limit, last: first}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		u := readUse()
		debug.SetMemoryLimit(l.next(u, groupMost()))
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
// stacks; allocated is what was ever allocated. Of processors, busy is the time since the start, and
// collecting the part of it that the garbage collector took, both in seconds as they were at the end of
// its last run.
type memoryUse struct {
	allocated, live, stacks uint64
	busy, collecting        float64
}

// limiting is how the limit follows what is used.
type limiting struct {
	least int64
	room  float64 // beside what is used, as a share of it
	last  memoryUse
}

const (
	leastRoom, mostRoom = 0.25, 0.5

	// mostCollecting is the share of the process's time from which on the garbage collector gets more room.
	mostCollecting = 1.0 / 6
)

// next returns the limit that leaves the garbage collector room, no less than least, and no more
// than most, 0 if there is no such bound.
func (l *limiting) next(u memoryUse, most int64) int64 {
	const beside = 16 << 20
	if busy := u.busy - l.last.busy; busy > 0 {
		switch share := (u.collecting - l.last.collecting) / busy; {
		case share > mostCollecting:
			l.room += share
		case share < mostCollecting/2:
			l.room -= mostCollecting / 4
		}
		l.last = u
	}
	l.room = min(max(l.room, leastRoom), mostRoom)
	used := float64(u.live + u.stacks)
	n := max(l.least, int64(used+used*l.room)+beside)
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
		{Name: "/memory/classes/heap/stacks:bytes"}, {Name: "/cpu/classes/total:cpu-seconds"},
		{Name: "/cpu/classes/idle:cpu-seconds"}, {Name: "/cpu/classes/gc/total:cpu-seconds"},
		{Name: "/cpu/classes/gc/mark/idle:cpu-seconds"}}
	metrics.Read(s)
	bytes := func(i int) uint64 { return s[i].Value.Uint64() }
	seconds := func(i int) float64 { return s[i].Value.Float64() }
	otherwiseIdle := seconds(6) // the garbage collector takes it only where nothing else wants it
	return memoryUse{allocated: bytes(0), live: bytes(1), stacks: bytes(2),
		busy: seconds(3) - seconds(4) - otherwiseIdle, collecting: seconds(5) - otherwiseIdle}
}
