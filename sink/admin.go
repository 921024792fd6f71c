package sink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"fanin/internal/wire"
)

// StreamStatus is a stream as the log knows it.
type StreamStatus struct {
	Stream string    `json:"stream"` // as its agent calls it
	Kind   string    `json:"kind"`
	Agent  string    `json:"agent"` // its owner, see wire.Hello.Owner
	Host   string    `json:"host"`
	Source string    `json:"source"`
	Epoch  uint32    `json:"epoch"`
	Offset int64     `json:"offset"` // of the source, committed
	Lossy  bool      `json:"lossy,omitempty"`
	Seen   time.Time `json:"seen"` // when something of it was committed last
}

func (st *stream) status() StreamStatus {
	n := st.names()
	return StreamStatus{st.own.String(), n.kind.String(), n.agent, n.host, n.source, st.Epoch, st.Offset, st.lossy(),
		timeOf(st.seen)}
}

// StreamFilter chooses streams. An empty field chooses all.
type StreamFilter struct {
	IDs    []wire.StreamID // as agents call them
	Agent  string          // of an agent's id: of all its sessions
	Before time.Time       // nothing was committed of it since then
}

// IsZero reports whether f chooses all streams.
func (f *StreamFilter) IsZero() bool {
	return len(f.IDs) == 0 && f.Agent == "" && f.Before.IsZero()
}

func (f *StreamFilter) has(st *stream) bool {
	return (len(f.IDs) == 0 || slices.Contains(f.IDs, st.own)) &&
		(f.Agent == "" || f.hasOwner(st.origin.Value().agent)) &&
		(f.Before.IsZero() || st.seen < f.Before.UnixMicro())
}

func (f *StreamFilter) hasOwner(owner string) bool {
	return owner == f.Agent || wire.AgentID(owner) == f.Agent
}

// Streams are the streams that the log knows, by agent and source. There may be
// hundreds of thousands: they are looked at a few at a time, so that neither the
// writer waits for all of them nor memory holds them.
func (s *Sink) Streams(f StreamFilter) iter.Seq[StreamStatus] {
	list := s.chosen(&f)
	return func(yield func(StreamStatus) bool) {
		var page [512]StreamStatus
		for part := range slices.Chunk(list, len(page)) {
			s.view.mu.RLock()
			for i, x := range part {
				page[i] = x.st.status()
			}
			s.view.mu.RUnlock()
			for i := range part {
				if !yield(page[i]) {
					return
				}
			}
		}
	}
}

type chosenStream struct {
	agent, source string
	st            *stream
}

// chosen are the streams that f has, by agent and source. They are sorted without
// the lock, for which the writer would wait.
func (s *Sink) chosen(f *StreamFilter) (list []chosenStream) {
	s.view.mu.RLock()
	for _, st := range s.view.catalog.streams {
		if f.has(st) {
			list = append(list, chosenStream{st.origin.Value().agent, st.source, st})
		}
	}
	s.view.mu.RUnlock()
	slices.SortFunc(list, func(a, b chosenStream) int {
		return cmp.Or(cmp.Compare(a.agent, b.agent), cmp.Compare(a.source, b.source),
			slices.Compare(a.st.id[:], b.st.id[:]))
	})
	return list
}

// ErrBusy is wrapped by errors about an agent that must be stopped first.
var ErrBusy = errors.New("stop the agent first")

// Forget ends the streams that f has, as if their agents had ended them, and
// returns how many. What an agent still has of such a stream's file it sends
// again from its own saved position, or all of it if it has none. Nothing is forgotten while
// an agent of any of the streams is busy.
func (s *Sink) Forget(ctx context.Context, f StreamFilter, busy func(agent string) bool) (n int, err error) {
	if f.IsZero() {
		return 0, errors.New("no streams selected: name their ids, an agent, or an age")
	}
	var refused error
	err = s.do(ctx, func(w *writer) error {
		var list []*stream
		for _, x := range s.chosen(&f) {
			if o := x.st.origin.Value(); o.kind == wire.StreamAgent && busy(o.agent) {
				refused = fmt.Errorf("agent %q is connected and would at once send again what is forgotten: %w",
					o.agent, ErrBusy)
				return nil
			}
			list = append(list, x.st)
		}
		n = len(list)
		return w.endAll(list)
	})
	return n, cmp.Or(err, refused)
}

// Reassign makes all streams of one agent another's, and returns how many: the host
// has a new name, and its agent has lost its state.
func (s *Sink) Reassign(ctx context.Context, from, to string, busy func(agent string) bool) (n int, err error) {
	var refused error
	err = s.do(ctx, func(w *writer) error {
		for _, agent := range []string{from, to} {
			if busy(agent) {
				refused = fmt.Errorf("agent %q is connected: %w", agent, ErrBusy)
				return nil
			}
		}
		list := slices.Clone(w.catalog.agents[from])
		if most := s.Limits.StreamsPerAgent - w.catalog.senders.agents[to]; len(list) > most {
			refused = fmt.Errorf("agent %q has %d streams, but %q may have only %d more; raise "+
				"streams_per_agent in [collector.limits]",
				from, len(list), to, most)
			return nil
		}
		for i, st := range list {
			if w.reassign(st, to) {
				n++
			}
			if i%endsPerFrame == endsPerFrame-1 {
				if err := w.commit(); err != nil {
					return err
				}
			}
		}
		return w.commit()
	})
	return n, cmp.Or(err, refused)
}

// reassign ends st and begins it as another agent's at the same place, in one frame.
// A stream that the other has already stays as it is.
func (w *writer) reassign(st *stream, to string) bool {
	n := st.names()
	n.agent = to
	id := w.catalog.id(n.kind, to, n.own)
	if w.catalog.streams[id] != nil {
		return false
	}
	w.end(st, 0)
	w.group.streams[id] = true
	w.group.count(origin{kind: n.kind, agent: to, address: n.address}, 1)
	w.group.names = append(w.group.names, n)
	w.group.records = append(w.group.records,
		record{stream: id, epoch: st.Epoch, op: wire.OpOpen, offset: st.Offset, end: st.Offset, after: st.Tail})
	return true
}
