package agent

import (
	"context"
	"slices"
	"sync"

	"fanin/internal/tail"
	"fanin/internal/wire"
)

// sender is an input that sends by itself, beside the tailer.
type sender interface {
	input
	Welcome(w wire.Welcome, maxText int) // as ship.OnWelcome
	run(ctx context.Context)             // until ctx ends
}

// welcomed passes a collector's welcome on to all that send.
func (a *agent) welcomed(w wire.Welcome, maxText int) {
	for _, in := range a.inputs {
		if s, ok := in.(sender); ok {
			s.Welcome(w, maxText)
		}
	}
	others := func(s wire.StreamState) bool { return !tail.Owns(s.Identity) }
	w.Streams = slices.DeleteFunc(slices.Clone(w.Streams), others)
	a.tailer.Welcome(w, maxText)
}

// sendInputs runs all inputs that send by themselves until ctx ends; wait waits for their ends.
func (a *agent) sendInputs(ctx context.Context) (wait func()) {
	var all sync.WaitGroup
	for _, in := range a.inputs {
		if s, ok := in.(sender); ok {
			all.Go(func() { s.run(ctx) }) // waited for by the caller
		}
	}
	return all.Wait
}
