package gelf

import (
	"time"

	"fanin/internal/counters"
	"fanin/internal/retry"
)

// Reasons for which messages are lost.
const (
	lostTimeout = "timeout" // a chunk did not come
	lostMemory  = "memory"  // chunks were forgotten for others
	lostLarge   = "large"   // larger than max_message
	lostBomb    = "bomb"    // unpacked, it is more than wire.MaxExpansion times as large
	lostCorrupt = "corrupt" // cannot be unpacked
	lostStopped = "stopped" // the collector stopped before all chunks came
)

func lostReasons() []string {
	return []string{lostTimeout, lostMemory, lostLarge, lostBomb, lostCorrupt, lostStopped}
}

// Reasons for which chunks are ignored.
const (
	chunkDoubled  = "doubled"  // it came before, or after its message had ended
	chunkMismatch = "mismatch" // its content or its count is other than before
	chunkTooMany  = "too_many" // a message of more than 128
	chunkZero     = "zero"     // a message of none
	chunkNumber   = "number"   // a number beyond the count
	chunkShort    = "short"    // its header is cut off
)

func chunkReasons() []string {
	return []string{chunkDoubled, chunkMismatch, chunkTooMany, chunkZero, chunkNumber, chunkShort}
}

// losses counts what is lost, and reports it in the log: the first of a kind at once, and
// those that follow together, once in retry.LogEvery. Its methods run on one goroutine.
type losses struct {
	metrics metrics
	lines   *counters.Input
	notice  func(format string, args ...any)
	tallies map[kindOfLoss]*tally
}

// kindOfLoss is what is reported together.
type kindOfLoss struct{ unit, reason string }

// tally is what is to be reported.
type tally struct {
	n    int
	peer string // of the last one
	last time.Time
}

// message counts a lost message of which n bytes came.
func (l *losses) message(reason, peer string, n int) {
	l.metrics.lost(reason).Inc()
	l.lines.Received(1, n)
	l.lines.Dropped(1)
	l.add(kindOfLoss{"messages", reason}, peer)
}

// chunk counts an ignored chunk. One that only came twice is no loss.
func (l *losses) chunk(reason, peer string) {
	l.metrics.chunks(reason).Inc()
	if reason != chunkDoubled {
		l.add(kindOfLoss{"chunks", reason}, peer)
	}
}

func (l *losses) add(kind kindOfLoss, peer string) {
	t := l.tallies[kind]
	if t == nil {
		t = new(tally)
		l.tallies[kind] = t
	}
	t.n++
	t.peer = peer
	l.report(kind, t, false)
}

// flush reports what was not reported yet, and with all also what was reported just before.
func (l *losses) flush(all bool) {
	for kind, t := range l.tallies {
		l.report(kind, t, all)
	}
}

func (l *losses) report(kind kindOfLoss, t *tally, all bool) {
	if t.n == 0 || !all && time.Since(t.last) < retry.LogEvery {
		return
	}
	l.notice("LOST n=%d unit=%s reason=gelf-%s peer=%s: %s", t.n, kind.unit, kind.reason, t.peer, explain(kind.reason))
	t.n, t.last = 0, time.Now()
}

// explain is what a reason means.
func explain(reason string) string {
	switch reason {
	case lostTimeout:
		return "not all of their chunks came within 5 s"
	case lostMemory:
		return "there was no memory for all incomplete messages: raise max_incomplete"
	case lostLarge:
		return "they are larger than max_message"
	case lostBomb:
		return "unpacked, they are more than 256 times as large"
	case lostCorrupt:
		return "they cannot be unpacked"
	case lostStopped:
		return "the collector stopped before all of their chunks came"
	case chunkTooMany:
		return "their messages have more than 128 chunks"
	}
	return "they are not as GELF has them"
}
