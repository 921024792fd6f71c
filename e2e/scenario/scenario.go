// Package scenario is the worst days of a log, to be lived through a few times
// in a test and many times in a torture run. On each, programs write logs that
// rotate, an agent follows them, a plain connection and a witness send lines of
// their own, one process reads along and another has `tail -F` open. At the end of
// the day everything is held against what was sent.
package scenario

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"fanin/e2e/check"
)

// Programs are the built programs, and a directory for scratch files.
type Programs struct {
	Collector, Agent, Dir string
	NATS                  string // a nats-server; "": built when it is needed
}

// Result is how a scenario ended.
type Result struct {
	Name    string
	Rounds  int
	Unknown int // lines in files of a cluster that their owner could not make known: they are in no tenure
	Fencing *Fencing
	check.Result
}

func (r *Result) String() string {
	s := fmt.Sprintf("%-26s rounds=%d %s", r.Name, r.Rounds, r.Result.String())
	if r.Unknown > 0 {
		s += fmt.Sprintf(" unknown=%d", r.Unknown)
	}
	if r.Fencing != nil {
		s += " " + r.Fencing.String()
	}
	return s
}

// ErrUnable says that this machine cannot play a scenario, and why.
var ErrUnable = errors.New("cannot be done on this machine")

// A line that a source wrote by accident or on purpose into the log itself, and
// all others, are told apart by the numbers of their sources.
const (
	writerSources   = 10_000 // from one writer to the next: it counts up with each file it begins
	plainSource     = 900_000
	witnessSources  = 910_000
	intruderSources = 920_000
	publishSources  = 930_000
	pipeSources     = 940_000
	pushSources     = 1_000_000 // from one pusher to the next: writerSources
)

// moment is a while that cannot be foreseen.
func moment(most time.Duration) { time.Sleep(rand.N(most)) }

// rotating makes the log rotate every few mebibytes.
const rotating = "rotate_size = \"4MiB\"\nkeep_bytes = \"off\"\n"
