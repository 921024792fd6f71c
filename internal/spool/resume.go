package spool

import (
	"context"
	"errors"

	"fanin/internal/wire"
)

// resume makes both sides agree where the segment's stream resumes: where the collector has
// it. Only what it cannot know is taken from the saved place:
//
//	the collector       the place       the log      outcome
//	knows the stream    behind it       -            resume at its watermark
//	knows the stream    ahead           changed      skip to the place: the log once had it
//	knows no stream     nothing sent    -            begin
//	knows no stream     something       the same     begin at the place
//	knows no stream     something       changed      begin at the start, skip to the place
//
// Segments never change. Only a machine that was set back while this process ran, together
// with it, has other bytes in one of this process's own segments than those that were sent:
// its stream then begins a new epoch at the place.
func (r *sender) resume(ctx context.Context) error {
	s := r.s
	id, _, _ := s.session.log()
	s.mu.Lock()
	local, end, ours := s.place, r.g.size, r.g.file != nil
	s.mu.Unlock()
	answer := r.answer
	r.answer = nil
	if answer == nil || !answer.Known {
		open := local
		if local.log != id {
			open.Point, open.epoch = wire.Point{}, 1
		}
		err := r.open(ctx, open)
		if err != nil && !errors.As(err, &answer) {
			return err
		}
		if err == nil {
			return r.agree(ctx, open, local, id)
		}
		r.answer = nil
	}
	if !answer.Known {
		return answer // it was ended meanwhile, and is opened by the next attempt
	}
	remote := place{spool: s.id, stream: r.stream, epoch: answer.Epoch, Point: answer.Point, log: id}
	if ours && (remote.Offset > end || !r.holds(remote.Point)) {
		s.Log.Warn("the collector has other lines of this segment of the spool: this machine was set back to "+
			"an earlier state; lines may be in the log twice",
			"path", r.g.path, "from", local.Offset, "was", remote.Offset)
		local.epoch, local.log = remote.epoch+1, id
		if err := r.open(ctx, local); err != nil {
			return err
		}
		return r.agree(ctx, local, local, id)
	}
	return r.agree(ctx, remote, local, id)
}

// holds reports whether the segment holds a point.
func (r *sender) holds(p wire.Point) bool {
	b := make([]byte, min(p.Offset, wire.TailSize))
	_, err := r.file.ReadAt(b, p.Offset-int64(len(b)))
	return err != nil || wire.TailHash(b) == p.Tail
}

// open opens the stream at a place.
func (r *sender) open(ctx context.Context, at place) error {
	return r.out.Append(ctx, wire.Batch{Op: wire.OpOpen, Stream: r.stream, Epoch: at.epoch, Offset: at.Offset,
		End: at.Offset, Before: at.Tail, After: at.Tail, Source: r.s.Source,
		Control: wire.Control{Identity: r.g.identity()}})
}

// agree resumes at a place that the collector confirmed. What the saved place has beyond it
// was in an earlier incarnation of the log, and is skipped.
func (r *sender) agree(ctx context.Context, at, local place, id logID) error {
	if local.log != id && local.epoch == at.epoch && local.Offset > at.Offset {
		err := r.out.Append(ctx, wire.Batch{Op: wire.OpSkip, Stream: r.stream, Epoch: at.epoch, Offset: at.Offset,
			End: local.Offset, Before: at.Tail, After: local.Tail,
			Control: wire.Control{Reason: "kept in an earlier life of the log"}})
		if err != nil {
			return err
		}
		r.s.counts.skipped.Add(uint64(local.Offset - at.Offset))
		at.Point = local.Point
	}
	at.spool, at.stream, at.log = r.s.id, r.stream, id
	r.s.mu.Lock()
	end := r.g.size
	r.s.place = at
	r.s.mu.Unlock()
	r.opened = true
	var err error
	if r.from, err = r.seek(at.Offset, end); err == nil && at.Offset == 0 {
		r.from = cursor{}
	}
	return err
}
