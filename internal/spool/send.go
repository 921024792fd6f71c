package spool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"fanin/internal/retry"
	"fanin/internal/wire"
)

// sender sends the segments, one after the other. It belongs to Run's goroutine.
type sender struct {
	s   *Spool
	out wire.Appender
	g   *segment
	segmentReader
	from    cursor         // behind what was acknowledged
	opened  bool           // the collector said where the stream is
	answer  *wire.Expected // its last answer that the stream is elsewhere
	refusal string         // the last reason for which it refused lines
	saved   place          // in the file
	savedAt time.Time
	outgoing
}

// Run sends the segments to out until ctx ends, or until the spool is closed and all of it
// is acknowledged: then it returns nil.
func (s *Spool) Run(ctx context.Context, out wire.Appender) error {
	r := sender{s: s, out: out}
	s.mu.Lock()
	r.saved = s.place
	s.mu.Unlock()
	defer func() { r.savePlace(true) }()
	if err := s.session.await(ctx); err != nil {
		return err
	}
	for {
		r.endGone(ctx)
		g, err := s.first(ctx)
		if g == nil {
			return err
		}
		r.begin(g)
		if err := r.segment(ctx); err != nil {
			return err
		}
	}
}

// first waits for the first segment; nil without an error: the spool is closed, and there is
// none.
func (s *Spool) first(ctx context.Context) (*segment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case len(s.segments) > 0 && !s.segments[0].busy:
			g := s.segments[0]
			g.begun = true
			return g, nil
		case len(s.segments) == 0 && s.ended:
			return nil, nil
		}
		if err := s.waitLocked(ctx); err != nil {
			return nil, err
		}
	}
}

// begin begins with a segment.
func (r *sender) begin(g *segment) {
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	r.g, r.stream, r.from, r.opened, r.answer = g, g.stream, cursor{}, false, nil
	r.synced = g.file != nil || g.synced
	if s.place.stream != g.stream {
		s.place = place{spool: s.id, stream: g.stream, epoch: 1}
	}
	s.place.spool = s.id
}

// The pauses after attempts that failed.
const (
	firstPause     = 250 * time.Millisecond
	longestPause   = 5 * time.Second
	longestRefused = 64 // times Refused
)

// segment sends a segment to its end, removes it and ends its stream. The error is ctx's.
func (r *sender) segment(ctx context.Context) error {
	failed := retry.Backoff{Min: firstPause, Max: longestPause}
	elsewhere := retry.Backoff{Min: firstPause / 16, Max: longestPause}
	refused := retry.Backoff{Min: r.s.Refused, Max: longestRefused * r.s.Refused}
	for {
		met := r.s.session.nextWelcome()
		before := r.s.acknowledged()
		err := r.attempt(ctx)
		if err != nil {
			r.giveBack() // before a pause
		}
		if r.s.acknowledged() != before {
			failed.Reset()
			elsewhere.Reset()
			refused.Reset()
		}
		switch {
		case err == nil:
			return r.end(ctx)
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, fs.ErrNotExist):
			r.lost(err)
			return r.end(ctx)
		case errors.As(err, &r.answer):
			elsewhere.Wait(ctx)
		case errors.Is(err, wire.ErrRefused):
			r.refused(ctx, err, refused.Next(), met)
		default:
			r.s.setUnsent(err.Error())
			retry.Pause(ctx, failed.Next())
		}
	}
}

func (s *Spool) acknowledged() wire.Point {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.place.Point
}

func (s *Spool) setUnsent(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsent = why
}

// refused reports why the collector accepts nothing, once for each reason, and pauses; a new
// connection ends the pause.
func (r *sender) refused(ctx context.Context, err error, pause time.Duration, met <-chan struct{}) {
	r.s.setUnsent(fmt.Sprintf("refused, next try in %v: %v", pause, err))
	if r.refusal != err.Error() {
		r.refusal = err.Error()
		r.s.Log.Error("the collector refuses lines of the spool; they stay in it, and are retried ever less often",
			"dir", r.s.Dir, "err", err)
	}
	select {
	case <-ctx.Done():
	case <-met:
	case <-time.After(pause):
	}
}

// attempt sends until all of the segment is acknowledged, or until something fails.
func (r *sender) attempt(ctx context.Context) error {
	f, shut, err := r.s.open(r.g)
	if err != nil {
		return err
	}
	defer shut()
	r.file = f
	if !r.opened || r.answer != nil {
		if err := r.resume(ctx); err != nil {
			return err
		}
	}
	r.ready = nil
	for {
		step, err := r.await(ctx)
		switch {
		case err != nil:
		case step == stepDone:
			return nil
		case step == stepLand:
			err = r.land()
		case step == stepSend:
			r.launch(ctx)
		default:
			err = r.readNext()
		}
		if err != nil {
			return cmp.Or(r.landAll(), err)
		}
	}
}

// readNext reads the next batch, while others are on their way.
func (r *sender) readNext() error {
	s, c, b := r.s, r.readTo(), &r.batches[r.turn]
	_, maxText, _ := s.session.log()
	s.mu.Lock()
	end := r.g.size
	r.block = s.queue.recent.hold(r.g, max(c.offset, firstByte))
	s.mu.Unlock()
	err := r.read(b, c, end, min(s.BatchBytes, maxText))
	if err == nil && !b.isEmpty() {
		r.ready, r.turn = b, (r.turn+1)%len(r.batches)
		b.End = b.to.at()
		b.After = b.hash(b.End)
	}
	if r.block != nil {
		s.mu.Lock()
		s.queue.recent.release(r.block, b.to.offset)
		s.mu.Unlock()
		r.block, b.raw = nil, nil
	}
	return err
}

// describe completes a batch that begins at a point.
func (r *sender) describe(b *batch, at wire.Point, epoch uint32) {
	b.Kind, b.Stream, b.Epoch = wire.StreamAgent, r.stream, epoch
	b.Offset, b.Before = at.Offset, at.Tail
	switch {
	case b.gap != nil:
		b.Op = wire.OpSkip
		b.Reason = fmt.Sprintf("the spool was full: dropped %d lines, %d bytes", b.gap.lines, b.gap.bytes)
	case b.damaged > 0:
		b.Op = wire.OpSkip
		b.Reason = fmt.Sprintf("%d bytes of the spool are damaged, or were not synced before a power cut", b.damaged)
	default:
		b.Source, b.Time = r.s.Source, time.Now().UnixMicro()
	}
}

// acknowledge notes that the collector has a batch.
func (r *sender) acknowledge(b *batch) {
	s := r.s
	r.from = b.to
	id, _, _ := s.session.log()
	s.counts.acknowledged.Add(uint64(b.lines))
	if b.damaged > 0 {
		s.counts.damaged.Add(uint64(b.damaged))
		s.Log.Error("skipped bytes of the spool that are no lines: they are damaged, or were not synced before a "+
			"power cut", "path", r.g.path, "from", b.from.at(), "bytes", b.damaged)
	}
	s.mu.Lock()
	s.unsent = ""
	s.place.Point, s.place.log = wire.Point{Offset: b.End, Tail: b.After}, id
	s.mu.Unlock()
	r.savePlace(false)
}

// lost reports that another process removed a segment that was not sent.
func (r *sender) lost(err error) {
	s := r.s
	s.mu.Lock()
	bytes := r.g.size - s.place.Offset
	s.mu.Unlock()
	s.counts.damaged.Add(uint64(max(0, bytes)))
	s.Log.Error("a segment of the spool was removed by another process; its lines are lost",
		"path", r.g.path, "bytes", bytes, "err", err)
}

// end removes the segment, durably, and then ends its stream: in the other order, a kill
// between the two would send all of it again.
func (r *sender) end(ctx context.Context) error {
	s := r.s
	s.mu.Lock()
	last := len(s.segments) == 1
	s.mu.Unlock()
	if last {
		r.savePlace(true) // it names the spool, which no segment does any more
	}
	for !s.remove(r.g) {
		if err := retry.Pause(ctx, longestRetry); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.segments = s.segments[1:]
	at := s.place
	s.signalLocked()
	s.mu.Unlock()
	s.wake()
	backoff := retry.Backoff{Min: firstPause, Max: longestPause}
	for {
		err := r.endStream(ctx, r.stream, at.epoch, at.Point)
		if err == nil || errors.As(err, new(*wire.Expected)) || errors.Is(err, wire.ErrRefused) {
			return nil
		}
		if err := backoff.Wait(ctx); err != nil {
			return err
		}
	}
}

func (r *sender) endStream(ctx context.Context, id wire.StreamID, epoch uint32, at wire.Point) error {
	return r.out.Append(ctx, wire.Batch{Op: wire.OpEnd, Stream: id, Epoch: epoch, Offset: at.Offset, End: at.Offset,
		Before: at.Tail, After: at.Tail})
}

// endGone ends the streams of segments that an earlier process removed.
func (r *sender) endGone(ctx context.Context) {
	for _, x := range r.s.gone() {
		if err := r.endStream(ctx, x.Stream, x.Epoch, x.Point); err != nil {
			r.s.Log.Debug("the stream of a removed segment did not end", "stream", x.Stream, "err", err)
		}
	}
}
