// Package relay forwards the committed log of a collector to another collector, as an agent sends
// a file: each generation of the log is a stream, and an offset in it is the offset in its file. So
// an upstream that is slow or away costs disk space and never memory, and the upstream's watermark
// is a position in this log.
//
//	Relay.Run -- await           a welcome, and a way without a loop
//	               |
//	             forward -- resume        decide.go: where to continue; opens the stream
//	               |
//	             reader.next              batches of lines, read ahead
//	               |
//	             Out.Append               up to two at a time, in order; then the position advances
package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"fanin/internal/retry"
	"fanin/internal/wire"
	"fanin/sink"
)

// Relay forwards a log. Make it with New before the log is opened, set Out, Run it.
type Relay struct {
	Out     wire.Appender       // sends to the upstream; tell Welcomed of each session first
	Trouble func() string       // why there is no session, "" while there is one
	Changed func(reason string) // the way of this log's lines has changed; nil: nothing is to do

	sink     *sink.Sink
	to, path string // where it forwards to, and what it saves
	log      *slog.Logger

	limited *retry.Log
	doubted string // the cause that was reported last; of what forwards
	counts  counts
	welcome chan struct{} // of one: there is another upstream

	forwarding sync.Mutex // while batches may be in flight
	saving     sync.Mutex // the file is written

	mu    sync.Mutex
	saved saved         // see local
	at    place         // what was acknowledged, or has expired
	known bool          // at is set
	floor sink.Position // the lines before it were counted as lost, or acknowledged: none is sent any more
	state struct {
		upstream  *upstream          // nil: there was no welcome yet
		stop      context.CancelFunc // of what forwards now; nil: nothing does
		expiring  bool               // expire waits for what forwards to end
		resumed   bool               // the upstream has confirmed at since the start
		confirmed *upstream          // whose welcome has shown where to continue; nil: none has
		flying    bool               // a batch has no outcome
		dirty     bool               // at is not saved
		blocked   string             // why nothing is forwarded, although there is a connection
		failed    string             // why the last batch was not acknowledged; "": it was
	}
}

// fileName is what a relay saves in the state of its log.
const fileName = "relay"

// New returns the relay of a log that will be opened. to is where it forwards to.
func New(s *sink.Sink, state, to string, log *slog.Logger) *Relay {
	r := &Relay{sink: s, to: to, path: filepath.Join(state, fileName), log: log, limited: retry.NewLog(log),
		welcome: make(chan struct{}, 1)}
	var damaged error
	if r.saved, damaged = load(r.path); damaged != nil {
		log.Warn("what the relay saved cannot be read; it continues where the upstream says", "err", damaged)
	}
	if r.saved.To != to {
		r.saved.To, r.saved.Known, r.saved.Way = to, false, nil
	}
	r.saved.Run++
	if at, ok := r.saved.position(); ok {
		r.at, r.known = place{at, wire.Hash(r.saved.Tail)}, true
	}
	r.floor, _ = sink.ParsePosition(r.saved.Floor) // zero if there is none
	s.SetRelay(sink.Consumers{Needed: r.needed, Expire: r.expire})
	return r
}

// Hello completes the hello of the relay. The log must be open.
func (r *Relay) Hello(h wire.Hello) wire.Hello {
	h.Session, h.Instance, h.Run = wire.RelaySession, r.sink.LogID(), r.saved.Run
	h.Host = cmp.Or(h.Host, r.sink.Host)
	return h
}

// Run forwards until ctx ends.
func (r *Relay) Run(ctx context.Context) {
	backoff := retry.Backoff{Min: 20 * time.Millisecond, Max: time.Second, Jitter: true}
	r.mu.Lock()
	r.claimLocked()
	r.mu.Unlock()
	r.save() // the number of this run
	for r.await(ctx) {
		before := r.counts.acknowledged.Load()
		err := r.forward(ctx)
		if r.counts.acknowledged.Load() > before {
			backoff.Reset()
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, context.Canceled) && !errors.As(err, new(*wire.Expected)) {
			r.setFailed(err.Error())
			r.limited.Warn("forward", "the relay could not forward lines; trying again", "to", r.to, "err", err)
		}
		backoff.Wait(ctx)
	}
	r.save()
}

// forward forwards lines until something prevents it.
func (r *Relay) forward(ctx context.Context) error {
	r.forwarding.Lock()
	defer r.forwarding.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.mu.Lock()
	u, expiring := r.state.upstream, r.state.expiring
	r.state.stop = cancel
	r.mu.Unlock()
	if expiring {
		return nil // it called stop before this one was there
	}
	s := &session{r: r, u: u, own: r.sink.LogID()}
	in, err := s.resume(ctx)
	if err != nil {
		return err
	}
	return s.run(ctx, in)
}

// acknowledge notes that the upstream has everything up to a place. What is counted as lost stays so.
func (r *Relay) acknowledge(p place, u *upstream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.at.Compare(r.floor) < 0 {
		return
	}
	r.at, r.known, r.state.resumed, r.state.dirty = p, true, true, true
	r.saved.Upstream, r.saved.Incarnation = u.log.String(), u.incarnation.String()
}

func (r *Relay) setFlying(is bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.flying = is
}

func (r *Relay) setFailed(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.failed = why
}

// save saves the position, if it has changed.
func (r *Relay) save() {
	r.saving.Lock()
	defer r.saving.Unlock()
	r.mu.Lock()
	s, dirty := r.saved, r.state.dirty
	if r.known {
		s.At, s.Tail = r.at.at.String(), uint64(r.at.tail)
	}
	r.state.dirty = false
	r.mu.Unlock()
	if !dirty && s.Run == r.counts.savedRun.Load() {
		return
	}
	if err := s.store(r.sink.Disk, r.path); err != nil {
		r.mu.Lock()
		r.state.dirty = true
		r.mu.Unlock()
		r.limited.Warn("save", "the relay cannot save its position; if the upstream loses its state meanwhile, lines "+
			"are relayed twice", "err", err)
		return
	}
	r.counts.savedRun.Store(s.Run)
}

// needed is the position that retention must keep.
func (r *Relay) needed() (sink.Position, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.claimLocked()
	return r.at.at, true
}

// claimLocked forgets what was acknowledged of another log, whose state was here before, and of a
// later state of this log: nothing is counted or left out because of positions that are no more. The
// log must be open.
func (r *Relay) claimLocked() {
	own, end, s := r.sink.LogID().String(), r.sink.End(), &r.saved
	later := r.at.at.Compare(end) > 0 || r.floor.Compare(end) > 0
	if later || s.Log != "" && s.Log != own {
		r.at, r.known, r.floor = place{}, false, sink.Position{}
		s.Upstream, s.Incarnation, s.At, s.Tail, s.Floor = "", "", "", 0, ""
	}
	s.Log = own
}

// expire abandons the lines of a file that is about to be removed.
func (r *Relay) expire(ctx context.Context, g, next sink.Generation) error {
	r.mu.Lock()
	r.claimLocked()
	behind := r.at.at.Generation <= g.Number
	r.state.expiring = behind // from now on nothing begins to forward
	if behind && r.state.stop != nil {
		r.state.stop()
	}
	r.mu.Unlock()
	if !behind {
		return nil
	}
	r.forwarding.Lock() // what forwards has ended
	defer r.forwarding.Unlock()
	r.mu.Lock()
	r.state.expiring = false
	r.mu.Unlock()
	return r.lose(ctx, sink.Position{Generation: next.Number}, "removed by retention before it was relayed")
}

// lose counts and reports the lines up to a position that can never be relayed.
func (r *Relay) lose(ctx context.Context, to sink.Position, why string) error {
	r.mu.Lock()
	from, most := r.at.at, r.state.flying || !r.state.resumed
	r.mu.Unlock()
	if from.Compare(to) >= 0 {
		return nil
	}
	n, exact, err := r.sink.Count(ctx, from, to)
	if err != nil {
		return fmt.Errorf("count the lines that were not relayed: %w", err)
	}
	r.mu.Lock()
	r.at, r.known, r.state.dirty, r.state.flying = place{at: to}, true, true, false
	r.floor, r.saved.Floor = to, to.String()
	r.mu.Unlock()
	r.counts.expired.Add(n)
	bound := ""
	switch {
	case most:
		bound = " at_most=true" // the upstream may have some of them
	case !exact:
		bound = " at_least=true"
	}
	if n > 0 || !exact {
		r.sink.Notice("UNRELAYED lines=%d%s from=%s to=%s reason=%q", n, bound, from, to, why)
	}
	r.save()
	return nil
}
