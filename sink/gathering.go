package sink

import "time"

// gathering decides whether the writer waits a moment before a group, so that small batches of many
// senders share a frame: a commit costs as much as ten of them. It never waits where that gains
// nothing:
//
//   - groups that are gatherTime apart anyway, since there are few batches
//   - large batches, which fill a group by themselves
//   - few senders that each wait for an answer before they send again: a wait only slows them down.
//     That shows in the wait itself: less than gatherLeast requests join, or none in its second half.
//     The next waits are then left out, twice as many each time, up to gatherSkips.
//
// Where a crowd joins in a wait, the next one is longer: thousands of agents would else have hundreds of
// commits a second.
type gathering struct {
	began time.Time // when the last group began
	skip  int       // groups before which not to wait
	next  int       // how many will be left out when the next wait gains nothing
	crowd bool      // a crowd joined in the last wait
	timer *time.Timer
}

const (
	gatherTime  = 2 * time.Millisecond
	gatherBytes = 64 << 10 // waiting for more than these gains nothing
	gatherLeast = 3        // requests that must join in a wait
	gatherSkips = 1024
	gatherCrowd = 16              // requests in gatherTime that are a crowd
	crowdTime   = 4 * gatherTime  // for gatherTime, while it lasts
	crowdBytes  = 8 * gatherBytes // for gatherBytes
)

// begin is called when there is a request, and waits if that may pay. done ends the wait.
func (g *gathering) begin(q *requests, done <-chan struct{}) {
	now := time.Now()
	pause, most := gatherTime, gatherBytes
	if g.crowd {
		pause, most = crowdTime, crowdBytes
	}
	pause -= now.Sub(g.began)
	if pause <= 0 || g.skip > 0 {
		g.skip = max(g.skip-1, 0)
		g.began = now
		return
	}
	before, _ := q.awake()
	full := g.wait(q.sleep(most), pause, done)
	waiting, last := q.awake()
	g.began = time.Now()
	g.judge(waiting-before, full || last.Sub(now) > pause/2)
}

// wait reports whether there is enough before the pause is over.
func (g *gathering) wait(enough <-chan struct{}, pause time.Duration, done <-chan struct{}) (full bool) {
	if g.timer == nil {
		g.timer = time.NewTimer(pause)
	} else {
		g.timer.Reset(pause)
	}
	defer g.timer.Stop()
	select {
	case <-enough:
		return true
	case <-g.timer.C:
	case <-done:
	}
	return false
}

// judge notes what a wait has gained.
func (g *gathering) judge(joined int, late bool) {
	least := gatherCrowd
	if g.crowd {
		least *= int(crowdTime / gatherTime)
	}
	g.crowd = late && joined >= least
	if joined >= gatherLeast && late {
		g.next = 0
		return
	}
	g.next = min(max(2*g.next, 1), gatherSkips)
	g.skip = g.next
}
