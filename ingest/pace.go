package ingest

import (
	"sync"
	"sync/atomic"
	"time"
)

// answerPace decides for how long the answer to a small batch waits. An agent sends the lines that have
// come meanwhile in one batch, so thousands of agents with a few lines a second each send fewer
// batches, and the log is written no later: only the answer waits.
//
// Up to paceRate batches a second no answer waits. Above, the delay follows the rate, once in
// paceWindow: with twice as many batches as paceRate, it doubles, up to paceMost. Where agents answer
// to it, the rate is then paceRate, since the rate of agents that wait for answers is their number
// divided by the delay. With fewer batches it shrinks in the same way, and is 0 soon.
type answerPace struct {
	batches atomic.Int64
	delay   atomic.Int64 // nanoseconds
	begun   atomic.Int64 // when the window began, UnixNano

	mu     sync.Mutex
	before int64 // batches when the window began
}

const (
	paceRate   = 20_000 // batches a second
	paceWindow = 100 * time.Millisecond
	paceFirst  = 10 * time.Millisecond // the first delay
	paceLeast  = 5 * time.Millisecond  // a shorter one is none
	paceMost   = 200 * time.Millisecond
	paceGrid   = 10 * time.Millisecond // answers that wait are written each so often, many at a time

	// PacedText is how much text a batch has at most whose answer may wait: an agent with more to
	// send reads larger blocks.
	PacedText = 16 << 10
)

// next counts a batch, and returns for how long its answer waits.
func (p *answerPace) next(now time.Time) time.Duration {
	p.batches.Add(1)
	if d := now.UnixNano() - p.begun.Load(); d >= int64(paceWindow) || d < 0 {
		p.adjust(now)
	}
	return time.Duration(p.delay.Load())
}

// adjust ends a window.
func (p *answerPace) adjust(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	took := now.UnixNano() - p.begun.Load()
	batches := p.batches.Load()
	switch {
	case took < 0: // the clock was set back
		p.before = batches
		p.begun.Store(now.UnixNano())
		return
	case took < int64(paceWindow):
		return // another call did
	}
	load := float64(batches-p.before) / (float64(took) / float64(time.Second)) / paceRate
	delay := time.Duration(float64(p.delay.Load()) * load)
	switch {
	case delay == 0 && load > 1:
		delay = paceFirst
	case delay < paceLeast:
		delay = 0
	}
	p.before = batches
	p.delay.Store(int64(min(delay, paceMost)))
	p.begun.Store(now.UnixNano())
}

// now returns the delay, for a reader: one of a window without batches is over.
func (p *answerPace) now(at time.Time) time.Duration {
	if at.UnixNano()-p.begun.Load() > int64(2*paceWindow) {
		return 0
	}
	return time.Duration(p.delay.Load())
}

// AnswerDelay counts a batch of an agent with so much text, and returns for how long its answer
// waits.
func (s *Sessions) AnswerDelay(text int, now time.Time) time.Duration {
	if delay := s.pace.next(now); text <= PacedText && delay > 0 {
		return onGrid(delay, now)
	}
	return 0
}

// onGrid shortens a delay so that it ends together with others.
func onGrid(delay time.Duration, now time.Time) time.Duration {
	return max(delay-time.Duration((now.UnixNano()+int64(delay))%int64(paceGrid)), 0)
}
