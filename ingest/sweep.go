package ingest

import "time"

// pace is how an arrival has come until the last sweep.
type pace struct {
	sweeps   int           // that it has waited for, while the collector made progress
	last     int64         // bytes that had come by the last sweep
	quiet    int           // sweeps since the last one at which bytes had come
	marked   time.Duration // the window in which a large text must bring leastStep begins here
	markedAt int64         // bytes that had come by then
}

const (
	leastStep  = 64 << 10 // what an arrival that holds more must bring in each stallTime while others wait
	stallTime  = 2 * time.Second
	crowdRate  = 64 << 10 // bytes a second that an arrival must bring while others wait
	crowdTime  = 5 * time.Second
	sweepEvery = 100 * time.Millisecond
	patience   = int(time.Second / sweepEvery)
	quietTime  = int(200 * time.Millisecond / sweepEvery)
)

// sweep checks the arrivals while some wait. It dismisses those that are behind the
// rate or have stalled; and of the unproven, those that have waited for long, those that
// are quiet where others hold less, and the slowest one when others have waited for a
// while, but for those whose sender cannot send again. While nothing is written, the
// collector itself is to blame, and none is dismissed.
func (m *Budget) sweep() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sweeping = m.queue.first() != nil; !m.sweeping {
		return
	}
	time.AfterFunc(sweepEvery, m.sweep) // ends when nothing waits
	stuck := m.waitedForLocked() && m.released == m.swept
	m.swept = m.released
	if stuck {
		return
	}
	for a := range m.all.members.all() {
		if a.slowLocked() {
			a.dismissLocked()
		}
	}
	least, long := m.tiredLocked()
	if least != nil {
		m.evictForLocked(least)
	}
	if slowest := m.slowestLocked(); long && slowest != nil {
		slowest.dismissLocked()
	}
	m.admitLocked() // smaller ones may have waited behind those that were dismissed
}

// tiredLocked dismisses the unproven arrivals that have waited for too long. It returns the one of the others whose
// address holds least, and whether one has waited for a while.
func (m *Budget) tiredLocked() (least *Arrival, long bool) {
	for a := range m.queue.all() {
		if a.sweeps++; a.trusted {
			continue
		}
		long = long || a.sweeps >= patience
		if !a.patient && a.sweeps >= int(crowdTime/sweepEvery) {
			a.dismissLocked()
		} else if least == nil || a.address.used < least.address.used {
			least = a
		}
	}
	return least, long
}

// evictForLocked dismisses unproven arrivals that are quiet, of addresses that hold more than
// that of w, until there is enough for w.
func (m *Budget) evictForLocked(w *Arrival) {
	oldest := m.unproven.members.first()
	for freed := int64(0); freed < w.need; {
		var largest *Arrival
		for a := range m.unproven.members.all() {
			quiet := a != oldest && !a.ended && !a.patient && a.held > 0 && a.quiet >= quietTime
			if quiet && a.address.used > w.address.used+w.need &&
				(largest == nil || a.address.used > largest.address.used) {
				largest = a
			}
		}
		if largest == nil {
			return
		}
		largest.dismissLocked()
		freed += largest.held
	}
}

// slowLocked reports whether a has fallen behind.
func (a *Arrival) slowLocked() bool {
	age, came := a.clock.age(), a.clock.Bytes()
	a.quiet++
	if came != a.last || a.clock.Paused() {
		a.last, a.quiet = came, 0
	}
	if age > crowdTime+time.Duration(came)*time.Second/crowdRate {
		return true
	}
	if age < a.marked+stallTime {
		return false
	}
	stalled := a.held > leastStep && came-a.markedAt < leastStep
	a.marked, a.markedAt = age, came
	return stalled
}

// slowestLocked returns the slowest unproven arrival that is neither the oldest nor just
// begun; nil: there is none.
func (m *Budget) slowestLocked() (slowest *Arrival) {
	least := 0.0
	oldest := m.unproven.members.first()
	for a := range m.unproven.members.all() {
		age := a.clock.age()
		if a == oldest || a.ended || a.patient || a.held == 0 || age < time.Second && a.need == 0 {
			continue
		}
		rate := float64(a.clock.Bytes()) / max(age, time.Millisecond).Seconds()
		if slowest == nil || rate < least {
			slowest, least = a, rate
		}
	}
	return slowest
}
