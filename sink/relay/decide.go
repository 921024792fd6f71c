package relay

import (
	"context"
	"errors"
	"slices"

	"fanin/internal/wire"
	"fanin/sink"
)

// presence is what a log has at a place of a stream.
type presence int

const (
	differs presence = iota // other bytes, or nothing yet
	held                    // the bytes that the place's hash covers
	gone                    // nothing any more: retention removed the file
)

// stream is one of the upstream's streams of this log: a generation of it.
type stream struct {
	generation uint64
	wire.Watermark
}

func (s *stream) at() sink.Position { return sink.Position{Generation: s.generation, Offset: s.Offset} }

// situation is what decides where a relay continues.
type situation struct {
	local    *place   // what was saved; nil: nothing
	same     bool     // local was acknowledged by this incarnation of this log
	remote   *stream  // the latest generation of which the upstream has something; nil: it knows none
	others   []stream // the others that it knows, the latest first
	former   bool     // the upstream knows an earlier log of these files
	found    bool     // behind all these are files whose lines may have had other positions
	earlier  func() *earlier
	presence func(sink.Position, wire.Hash) presence
}

// earlier is where this log was acknowledged when its files had other numbers, or it another id.
type earlier struct {
	at      sink.Position
	further bool // the upstream had more than that, which the files do not have
}

// place is a position of the log and the tail hash there.
type place struct {
	at   sink.Position
	tail wire.Hash
}

// plan is where a relay continues. The stream of that generation is opened there: in the epoch that
// the upstream has, if it is at that place, else in the next one.
type plan struct {
	at    sink.Position // generation 0: the oldest line
	skip  int64         // after the open, skip to this offset: it is in the log upstream already
	gone  bool          // the place cannot be read any more: what follows it is next
	doubt bool          // lines behind it may be in the log upstream already
}

// decide decides where a relay continues. The first row that fits applies; "-" means any.
//
// The upstream's watermark says what it has. Only when its log is another one, or another
// incarnation, does the saved position count where it is further: what it acknowledged is kept,
// there or in the log before.
//
//	remote   local    log      holds           outcome
//	unknown  none     -        -               at what an earlier log of these files had, else at the oldest line
//	unknown  any      -        not any more    if files were found that had other numbers: at what they have of the
//	                                           marks, else behind it: some lines may double
//	unknown  any      same     local           open at local
//	unknown  any      changed  local           open at the start of its generation, skip to local
//	known    ahead    changed  local, remote   in one generation: open at remote, skip to local; else as above
//	known    ahead    changed  local           new epoch at local, or its generation as above
//	known    -        -        not any more    if files were found that had other numbers: as above
//	known    -        -        remote          open at remote
//	known    -        -        not any more    continue behind it: retention counted what is missing
//	known    -        -        neither         new epoch at the last place of the trail that is held, else at the
//	                                           mark of another generation that is held
//	-        any      -        no place        local without its proof, or the oldest line: some lines may double
func (s *situation) decide() plan {
	local := differs
	if s.local != nil {
		local = s.presence(s.local.at, s.local.tail)
	}
	if s.remote == nil {
		return s.decideUnknown(local)
	}
	remote := s.presence(s.remote.at(), s.remote.Tail)
	ahead := local != differs && !s.same && s.local.at.Compare(s.remote.at()) > 0
	at, furthest := s.remote.at(), remote
	if ahead {
		at, furthest = s.local.at, local
	}
	switch {
	case s.found && furthest == gone:
		return s.decideFound(at)
	case ahead && s.local.at.Generation > s.remote.generation:
		return s.skipToLocal(local)
	case ahead && remote == held:
		return plan{at: s.remote.at(), skip: s.local.at.Offset}
	case ahead:
		return plan{at: s.local.at, gone: local == gone}
	case remote != differs:
		return plan{at: s.remote.at(), gone: remote == gone}
	}
	return s.decideOlder(local)
}

// decideOlder is decide where the log does not hold what the upstream has.
func (s *situation) decideOlder(local presence) plan {
	for _, p := range slices.Backward(s.remote.Trail) {
		at := sink.Position{Generation: s.remote.generation, Offset: p.Offset}
		if s.presence(at, p.Tail) == held {
			return plan{at: at, doubt: true}
		}
	}
	behind := local != differs && s.local.at.Compare(s.remote.at()) < 0
	for _, x := range s.others { // there when the answer to the first batch of an older state was lost
		if behind && s.local.at.Compare(x.at()) >= 0 {
			break
		}
		if x.Offset > 0 && s.presence(x.at(), x.Tail) == held {
			return plan{at: x.at(), doubt: true}
		}
	}
	if behind {
		return plan{at: s.local.at, gone: local == gone, doubt: true}
	}
	return plan{doubt: true}
}

// decideUnknown is decide where the upstream knows no stream of this log.
func (s *situation) decideUnknown(local presence) plan {
	switch {
	case s.found && local == gone:
		return s.decideFound(s.local.at)
	case local != differs && s.same:
		return plan{at: s.local.at, gone: local == gone}
	case local != differs:
		return s.skipToLocal(local)
	}
	if e := s.earlier(); e != nil {
		return plan{at: e.at, doubt: e.further}
	}
	return plan{doubt: s.local != nil || s.former && s.found}
}

// decideFound is decide where a position is gone, perhaps because the files have other numbers now.
func (s *situation) decideFound(at sink.Position) plan {
	if e := s.earlier(); e != nil {
		return plan{at: e.at, doubt: e.further}
	}
	return plan{at: at, gone: true, doubt: true}
}

// skipToLocal opens the generation of the saved position at its start, and skips to the position.
func (s *situation) skipToLocal(local presence) plan {
	if local == gone {
		return plan{at: s.local.at, gone: true}
	}
	return plan{at: sink.Position{Generation: s.local.at.Generation}, skip: s.local.at.Offset}
}

// looker finds out what a log has at places.
type looker struct {
	ctx context.Context
	log *sink.Sink
	err error // why it could not
}

func (l *looker) presence(at sink.Position, tail wire.Hash) presence {
	text, err := l.log.TailText(l.ctx, at)
	switch {
	case errors.As(err, new(*sink.GoneError)):
		return gone
	case errors.Is(err, sink.ErrNoPosition):
		return differs
	case err != nil:
		l.err = err
		return differs
	case wire.TailHash(text) != tail:
		return differs
	}
	return held
}

// found reports whether a file behind a generation was found without state.
func (l *looker) found(behind uint64) bool {
	return slices.ContainsFunc(l.log.Status().Generations, func(g sink.Generation) bool {
		return g.Number > behind && g.Found()
	})
}

// earlier returns the furthest place of the log that has one of these marks: its files had other
// numbers, or it another id, when the upstream acknowledged them. Where the files have none of them,
// the same of what the upstream had before. Nil: there is none.
func (l *looker) earlier(marks []wire.Watermark) *earlier {
	var now, before []wire.Point
	for i := range marks {
		now, before = append(now, marks[i].Point), append(before, marks[i].Trail...)
	}
	if at := l.furthest(now); at != (sink.Position{}) {
		return &earlier{at: at}
	}
	if at := l.furthest(before); at != (sink.Position{}) {
		return &earlier{at: at, further: true}
	}
	return nil
}

// furthest returns the furthest place of the log that has one of these points; zero: there is none.
func (l *looker) furthest(points []wire.Point) (found sink.Position) {
	for _, g := range l.log.Status().Generations {
		for _, p := range points {
			at := sink.Position{Generation: g.Number, Offset: p.Offset}
			if at.Offset == 0 || at.Offset > g.Size && g.State != "live" || at.Compare(found) <= 0 {
				continue
			}
			if l.presence(at, p.Tail) == held {
				found = at
			}
		}
	}
	return found
}
