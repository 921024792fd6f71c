package relay

import (
	"context"
	"slices"

	"fanin/internal/wire"
)

// Welcomed tells the relay of a session with the upstream, before anything is sent in it.
// maxText is how much text and labels a batch may have.
func (r *Relay) Welcomed(w wire.Welcome, maxText int) {
	own := r.sink.LogID()
	u := readUpstream(&w, maxText, own)
	r.mu.Lock()
	before := r.wayLocked()
	r.state.upstream = u
	r.state.blocked = blocked(u, own)
	r.saved.setWay(u.way)
	r.state.dirty = true
	changed := !before.Equal(r.wayLocked())
	if r.state.stop != nil {
		r.state.stop() // what it knows of the upstream is older
	}
	why := r.state.blocked
	r.mu.Unlock()
	if why != "" {
		r.log.Error("the relay forwards nothing", "to", r.to, "reason", why)
	}
	r.save()
	if changed && r.Changed != nil {
		r.Changed("the way of the lines behind this collector has changed")
	}
	select {
	case r.welcome <- struct{}{}:
	default:
	}
}

// blocked is why nothing may be forwarded on a way, "" if it may.
func blocked(u *upstream, own wire.StreamID) string {
	switch {
	case u.loops(own):
		return "its lines would come back to this log, since the collectors behind the upstream forward to it: take " +
			"one [collector.relay] out of the loop"
	case len(u.way.Logs) == wire.MaxWay:
		return "a line may pass through 8 logs at most, this one included, and the upstream is the first of 8: " +
			"shorten the chain"
	case len(u.way.Logs) == 0:
		return "the upstream is of a release that takes no relays: install the same release on both"
	case !u.way.Known:
		return "the upstream has not met the collector that it forwards to itself, so it is not known whether lines " +
			"would come back: they wait until it has"
	}
	return ""
}

// Way is the way of this log's lines, for the welcome of those that send to it.
func (r *Relay) Way() wire.Way {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wayLocked()
}

func (r *Relay) wayLocked() wire.Way {
	beyond, own := r.saved.way(), r.sink.LogID()
	if i := slices.Index(beyond.Logs, own); i >= 0 {
		beyond = wire.Way{Logs: beyond.Logs[:i]}
	}
	w := wire.Way{Known: beyond.Known, Logs: []wire.StreamID{own}}
	w.Logs = append(w.Logs, beyond.Logs[:min(len(beyond.Logs), wire.MaxWay-1)]...)
	return w
}

// await waits until lines may be forwarded. False: ctx has ended.
func (r *Relay) await(ctx context.Context) bool {
	for ctx.Err() == nil {
		r.mu.Lock()
		ready := r.state.upstream != nil && r.state.blocked == ""
		r.mu.Unlock()
		if ready {
			return true
		}
		select {
		case <-r.welcome:
		case <-ctx.Done():
		}
	}
	return false
}
