package distribute

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"sync"
	"time"
)

// governor leaves the processors to the writer when there is not enough of them
// for both: lines that are not taken may be lost, lines that are not handed out
// wait in the file. While the writer works hard and few processors are idle,
// dispatchers pause, each time longer; when some are, ever shorter. How long at
// most grows with the square of the share of its time that the writer is busy, so that
// a flood passes and an ordinary stream is handed out as it comes.
type governor struct {
	worked func() time.Duration              // how long the writer has been at work
	idle   func() (idle, all int64, ok bool) // how long all processors had nothing to do, of how long

	mu         sync.Mutex
	last       time.Time
	lastWorked time.Duration
	lastIdle   int64
	lastAll    int64
	pace       float64 // pause so many times as long as was worked
}

const (
	governEvery = 50 * time.Millisecond
	leastIdle   = 0.25 // of all processors
	maxPace     = 300  // when the writer is always busy
)

// yield pauses after some work, if it has to.
func (g *governor) yield(ctx context.Context, worked time.Duration, groups int) {
	if p := g.look(time.Now()); p > 0 {
		pause(ctx, min(time.Duration(float64(worked)*p*float64(groups)), 100*time.Millisecond))
	}
}

// look is the pace for now.
func (g *governor) look(now time.Time) float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	passed := now.Sub(g.last)
	if passed < governEvery {
		return g.pace
	}
	worked := g.worked()
	idle, all, ok := g.idle()
	busy := float64(worked-g.lastWorked) / float64(passed)
	free := float64(idle-g.lastIdle) / float64(max(all-g.lastAll, 1))
	first := g.last.IsZero() || passed > 10*governEvery
	g.last, g.lastWorked, g.lastIdle, g.lastAll = now, worked, idle, all
	switch {
	case !ok:
		g.pace = 0
	case first: // the time since the last look tells too little
	case free < leastIdle:
		g.pace = 3*g.pace + 10
	default:
		g.pace = max(g.pace*0.8-0.5, 0)
	}
	g.pace = min(g.pace, maxPace*busy*busy)
	return g.pace
}

// processors reads how long all processors were idle, or waited for a disk, of
// how long they were there, in ticks (proc(5)). Elsewhere than on Linux nobody
// knows.
func processors() (idle, all int64, ok bool) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, false
	}
	line, _, _ := bytes.Cut(b, []byte{'\n'})
	fields := bytes.Fields(line)
	if len(fields) < 9 || string(fields[0]) != "cpu" {
		return 0, 0, false
	}
	for i, f := range fields[1:9] { // guests are in user time
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return 0, 0, false
		}
		all += n
		if i == 3 || i == 4 {
			idle += n
		}
	}
	return idle, all, true
}
