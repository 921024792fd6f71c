package agent

import (
	"sync"
	"sync/atomic"
	"time"
)

// rounds write the answers that are delayed, all that are due at the same moment in one round: a timer
// and a goroutine for each connection cost a tenth of the CPU time of small batches. Its zero value is
// ready.
type rounds struct {
	mu  sync.Mutex
	due map[int64]*round // by the moment, in units of roundEvery
}

// round is the connections whose answers are due at one moment.
type round struct {
	all  []*answers // fixed when the round has begun
	next atomic.Int64
}

const (
	roundEvery = 10 * time.Millisecond
	roundStuck = 5 * time.Millisecond // after which another goroutine goes on with a round
)

// add has a's frames written after a delay.
func (r *rounds) add(a *answers, delay time.Duration) {
	moment := time.Now().Add(delay).UnixNano() / int64(roundEvery)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.due == nil {
		r.due = make(map[int64]*round)
	}
	now := r.due[moment]
	if now == nil {
		now = new(round)
		r.due[moment] = now
		time.AfterFunc(delay, func() { r.take(moment).write() }) // ends when its connections have their answers
	}
	now.all = append(now.all, a)
}

// take removes a round whose moment has come.
func (r *rounds) take(moment int64) *round {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.due[moment]
	delete(r.due, moment)
	return now
}

// write writes one connection's answers after the other's. A peer that does not read holds up no other:
// another goroutine goes on then. It holds up one goroutine at a time, until its write times out.
func (r *round) write() {
	defer time.AfterFunc(roundStuck, r.write).Stop()
	for {
		n := int(r.next.Add(1)) - 1
		if n >= len(r.all) {
			return
		}
		r.all[n].flushLater()
	}
}
