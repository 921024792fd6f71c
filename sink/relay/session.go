package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"fanin/internal/wire"
	"fanin/sink"
)

// session forwards lines from one decision about where to continue to the next.
type session struct {
	r   *Relay
	u   *upstream
	own wire.StreamID // of the log
	now stream        // that is open; generation 0: none

	flights []*flight   // on their way, in their order
	free    chan *batch // read again
}

// resume decides where to continue, and makes the upstream agree.
func (s *session) resume(ctx context.Context) (*reader, error) {
	look := &looker{ctx: ctx, log: s.r.sink}
	p := s.situation(look).decide()
	if look.err != nil {
		return nil, look.err
	}
	s.r.mu.Lock()
	if floor := s.r.floor; p.at.Compare(floor) < 0 {
		p.at, p.skip, p.gone = floor, 0, true
	}
	if p.gone && s.r.at.at.Compare(p.at) < 0 {
		s.r.at, s.r.known = place{at: p.at}, true // the upstream has these lines: they are not lost
	}
	s.r.mu.Unlock()
	if p.doubt {
		s.doubt(p.at)
	}
	var text []byte
	at := p.at
	if at.Generation > 0 && !p.gone {
		var err error
		if text, err = s.r.sink.TailText(ctx, at); err != nil {
			return nil, err
		}
		if err := s.open(ctx, at, wire.TailHash(text)); err != nil {
			return nil, err
		}
		if p.skip > at.Offset {
			at.Offset = p.skip
			if text, err = s.r.sink.TailText(ctx, at); err != nil {
				return nil, err
			}
			if err := s.skip(ctx, p.skip, wire.TailHash(text)); err != nil {
				return nil, err
			}
		}
		s.r.acknowledge(place{at, wire.TailHash(text)}, s.u)
		s.r.save()
	}
	s.r.mu.Lock()
	s.r.state.confirmed = s.u
	s.r.mu.Unlock()
	labels := labeler{format: s.r.sink.Format, host: s.r.sink.Host}
	return newReader(s.r.sink.Reader(at), labels, s.u.limit, text), nil
}

// doubt reports that lines may double: once for a state of the upstream, however often the relay
// begins again before it could send something.
func (s *session) doubt(from sink.Position) {
	cause := fmt.Sprint(s.u.log, s.u.incarnation)
	if all := s.u.known(); len(all) > 0 {
		cause = fmt.Sprint(cause, all[0].generation, all[0].Epoch, all[0].Point)
	}
	if s.r.doubted == cause {
		return
	}
	s.r.doubted = cause
	s.r.counts.doubted.Add(1)
	s.r.log.Warn("the upstream has a later or another state of this log; lines may be in its log twice",
		"to", s.r.to, "from", from)
}

// situation is what is known before anything is opened.
func (s *session) situation(look *looker) *situation {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	x := &situation{presence: look.presence}
	if all := s.u.known(); len(all) > 0 {
		x.remote, x.others = &all[0], all[1:]
	}
	saved := &s.r.saved
	x.same = saved.Upstream == s.u.log.String() && saved.Incarnation == s.u.incarnation.String()
	if s.r.known {
		local := s.r.at
		x.local = &local
	}
	expired := x.local != nil && x.local.at == s.r.floor // what was not acknowledged up to there is counted
	x.former, x.found = len(s.u.former) > 0, !expired && look.found(s.latest(x))
	x.earlier = func() *earlier { return look.earlier(s.marks(x)) }
	return x
}

// latest is the latest generation that counts as acknowledged.
func (s *session) latest(x *situation) (generation uint64) {
	if x.local != nil {
		generation = x.local.at.Generation
	}
	if x.remote != nil {
		generation = max(generation, x.remote.generation)
	}
	return generation
}

// marks are all places that were acknowledged, of this log and of one before it.
func (s *session) marks(x *situation) (all []wire.Watermark) {
	for _, m := range s.u.former {
		all = append(all, m.Watermark)
	}
	for _, m := range s.u.streams {
		all = append(all, m)
	}
	if x.local != nil {
		all = append(all, wire.Watermark{Point: wire.Point{Offset: x.local.at.Offset, Tail: x.local.tail}})
	}
	return all
}

// open opens the stream of a generation at a place.
func (s *session) open(ctx context.Context, at sink.Position, tail wire.Hash) error {
	mark, known := s.u.streams[at.Generation]
	switch p := (wire.Point{Offset: at.Offset, Tail: tail}); {
	case !known:
		mark = wire.Watermark{Epoch: 1, Point: p}
	case mark.Point != p:
		mark = wire.Watermark{Epoch: mark.Epoch + 1, Point: p}
	}
	b := wire.Batch{Op: wire.OpOpen, Epoch: mark.Epoch, Offset: at.Offset, End: at.Offset, Before: tail, After: tail,
		Source: wire.RelaySource, Control: wire.Control{Identity: identityOf(s.own, at.Generation)}}
	if err := s.append(ctx, at.Generation, &b); err != nil {
		return err
	}
	s.now = stream{at.Generation, mark}
	s.u.streams[at.Generation] = mark
	return nil
}

// skip leaves out what the upstream has had in an earlier life of its log, up to an offset.
func (s *session) skip(ctx context.Context, to int64, tail wire.Hash) error {
	b := wire.Batch{Op: wire.OpSkip, Epoch: s.now.Epoch, Offset: s.now.Offset, End: to, Before: s.now.Tail, After: tail,
		Control: wire.Control{Reason: "kept in an earlier life of the log"}}
	if err := s.append(ctx, s.now.generation, &b); err != nil {
		return err
	}
	s.advance(to, tail)
	return nil
}

// append sends a batch of a generation. What the upstream answers in place of an acknowledgement
// counts for the next decision.
func (s *session) append(ctx context.Context, generation uint64, b *wire.Batch) error {
	b.Stream = streamOf(s.own, generation)
	err := s.r.Out.Append(ctx, *b)
	s.note(generation, err)
	return err
}

// note notes where the upstream says that it is with a generation, if it does.
func (s *session) note(generation uint64, err error) {
	var expected *wire.Expected
	if errors.As(err, &expected) {
		if delete(s.u.streams, generation); expected.Known {
			s.u.streams[generation] = expected.Watermark
		}
	}
}

// advance notes what was acknowledged of the open stream.
func (s *session) advance(to int64, tail wire.Hash) {
	s.now.Point = wire.Point{Offset: to, Tail: tail}
	s.u.streams[s.now.generation] = s.now.Watermark
}

// saveEvery is how often the position is saved while lines are forwarded.
const saveEvery = time.Second

// run sends batch after batch. While some are on their way, the next one is read.
func (s *session) run(ctx context.Context, in *reader) error {
	ready := make(chan *batch)
	s.free = make(chan *batch, wire.MaxChain+1)
	for range cap(s.free) {
		s.free <- new(batch)
	}
	reading, cancel := context.WithCancelCause(ctx)
	read := make(chan struct{})
	go func() { // ends with reading, or by an error that ends that
		defer close(read)
		cancel(s.readAhead(reading, in, ready))
	}()
	defer func() { <-read }()
	defer close(s.free)
	defer s.drain()
	defer cancel(nil)
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		may, follows := s.room()
		next := ready
		if !may {
			next = nil
		}
		var err error
		select {
		case b := <-next:
			err = s.send(ctx, b)
		case <-follows:
			s.flights[len(s.flights)-1].follows = true
		case outcome := <-s.landing():
			err = s.land(ctx, outcome)
		case <-tick.C:
			s.r.save()
		case <-reading.Done():
			return cmp.Or(s.landAll(ctx), context.Cause(reading))
		}
		if err != nil {
			return err
		}
	}
}

// readAhead fills the batches that are free, until ctx ends or the log cannot be read.
func (s *session) readAhead(ctx context.Context, in *reader, ready chan<- *batch) error {
	defer in.log.Close()
	for b := range s.free {
		if err := in.next(ctx, b); err != nil {
			return err
		}
		select {
		case ready <- b:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// send sends a batch, or notes what cannot be sent.
func (s *session) send(ctx context.Context, b *batch) error {
	if !s.mayFollow(b) {
		if err := s.landAll(ctx); err != nil {
			return err
		}
	}
	switch {
	case b.gap != nil:
		s.now = stream{}
		err := s.r.lose(ctx, b.gap.To, "no longer there: retention or another process removed the file")
		s.free <- b
		return err
	case b.empty():
		s.free <- b
		return nil
	case s.now.generation != b.generation:
		at := sink.Position{Generation: b.generation, Offset: b.Offset}
		if err := s.open(ctx, at, b.Before); err != nil {
			return err
		}
	}
	s.launch(ctx, b)
	return nil
}

// endOthers has the upstream forget the generations other than the present one, and those of a log
// before this one: something of the present one was committed, so it says where to continue. Later
// ones are there when this log was put back to an older state.
func (s *session) endOthers(ctx context.Context) error {
	for generation, mark := range s.u.streams {
		if generation == s.now.generation {
			continue
		}
		b := endOf(mark)
		if err := s.append(ctx, generation, &b); err != nil {
			return err
		}
		delete(s.u.streams, generation)
	}
	for _, x := range s.u.former {
		b := endOf(x.Watermark)
		b.Stream = x.Stream
		if err := s.r.Out.Append(ctx, b); err != nil && !errors.As(err, new(*wire.Expected)) {
			return err
		}
	}
	s.u.former = nil
	return nil
}

func endOf(mark wire.Watermark) wire.Batch {
	return wire.Batch{Op: wire.OpEnd, Epoch: mark.Epoch, Offset: mark.Offset, End: mark.Offset, Before: mark.Tail,
		After: mark.Tail}
}
