// Package pace leaves the processors to the writer of a log while there are not enough for it
// and for work that can wait.
package pace

import (
	"context"
	"sync"
	"time"

	"fanin/internal/retry"
)

// Governor leaves the processors to the writer when there are not enough for both: lines
// that are not received may be lost, lines that are not handed out wait in the file, and so
// do files that are not compressed. While the writer is busy and few processors are idle,
// what yields pauses longer and longer; when some are idle, shorter and shorter. The longest
// pause grows with the square of the share of time in which the writer is busy, so that the
// writer wins in a flood, and an ordinary stream is handed out as it comes.
//
// Processors count as idle if this process may use them: one that is confined to a few, or has a
// quota of their time, has none left while others of the machine are idle.
type Governor struct {
	worked func() time.Duration // how long the writer has been busy, in all
	most   float64              // the pace while the writer is always busy
	read   func() usage

	mu         sync.Mutex
	last       time.Time
	lastWorked time.Duration
	lastUsage  usage
	pace       float64 // a pause is so many times as long as the work before it
}

// New returns the governor of a writer. worked is how long that has been busy, in all. While the writer is always
// busy, a pause is up to most times as long as the work before it.
func New(worked func() time.Duration, most float64) *Governor {
	return &Governor{worked: worked, most: most, read: readUsage}
}

// What New may have as most.
const (
	// GiveWay is for work that can wait until a flood is over.
	GiveWay = 300

	// KeepUp is for work that must not fall behind without end, such as compression, without which files fill the
	// disk: it has a tenth of a processor.
	KeepUp = 9
)

const (
	governEvery = 50 * time.Millisecond
	leastIdle   = 0.25 // of the processors
)

// maxYield bounds one pause.
const maxYield = 100 * time.Millisecond

// Yield pauses after some work, if the writer needs the processors. It returns early when ctx
// ends.
func (g *Governor) Yield(ctx context.Context, worked time.Duration) {
	if p := g.look(time.Now()); p > 0 {
		retry.Pause(ctx, min(time.Duration(float64(worked)*p), maxYield))
	}
}

// look returns the pace for now.
func (g *Governor) look(now time.Time) float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	passed := now.Sub(g.last)
	if passed < governEvery {
		return g.pace
	}
	worked := g.worked()
	u := g.read()
	busy := float64(worked-g.lastWorked) / float64(passed)
	free := u.free(g.lastUsage, passed)
	first := g.last.IsZero() || passed > 10*governEvery
	g.last, g.lastWorked, g.lastUsage = now, worked, u
	switch {
	case !u.known:
		g.pace = 0
	case first: // the time since the last look says too little
	case free < leastIdle:
		g.pace = 3*g.pace + 10
	default:
		g.pace = max(g.pace*0.8-0.5, 0)
	}
	g.pace = min(g.pace, g.most*busy*busy)
	return g.pace
}
