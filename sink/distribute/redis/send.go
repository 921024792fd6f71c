package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fanin/internal/redisconn"
	"fanin/sink"
	"fanin/sink/distribute/carry"
)

// send adds lines to the target: all that it does not have.
func (o *Output) send(ctx context.Context, lines []carry.Line) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	err := o.carry(ctx, lines)
	o.waiting = err != nil && !errors.Is(err, carry.ErrMoved)
	return err
}

func (o *Output) carry(ctx context.Context, lines []carry.Line) error {
	first := position(lines[0].ID)
	if back := o.back; back != (sink.Position{}) {
		o.back = sink.Position{}
		if first.Compare(back) > 0 {
			return carry.ErrMoved // handed out before the group was moved
		}
	}
	if err := o.ready(ctx, first); err != nil {
		return err
	}
	known := o.known(lines)
	if rest := lines[known:]; len(rest) > 0 {
		if err := o.skip(rest); err != nil {
			return err
		}
		has, err := o.target.add(ctx, o.conn, o.has, rest)
		if err != nil {
			o.drop()
			return o.explain(err)
		}
		o.has = has
		o.given.reached(has.at)
	}
	for i := known; i < len(lines); i++ {
		lines[i].Carried()
	}
	o.next = behind(&lines[len(lines)-1])
	return nil
}

// known sets the outcome of the lines that the target has, which are the first ones, and
// returns how many they are. Those before the beginning are not there, and cannot be added
// in front of the others.
func (o *Output) known(lines []carry.Line) (n int) {
	before := 0
	for n < len(lines) && position(lines[n].ID).Compare(o.has.at) <= 0 {
		if position(lines[n].ID).Compare(o.given.begin) < 0 {
			before++
		}
		lines[n].Carried()
		n++
	}
	if before > 0 {
		o.counts.behind.Add(uint64(before))
		o.warnings.Warn("behind", "lines are older than all that the target has, and are not added to it: "+
			"to have them there, delete it, and replay the group again",
			"target", o.target.String(), "group", o.Group, "lines", before)
	}
	return n
}

// skip notes where the log goes on, if there is a gap before or between lines that the
// target does not have: lines that retention removed, or that an operator left out. What is
// before a gap is not sent again.
func (o *Output) skip(lines []carry.Line) error {
	next, gap := o.next, sink.Position{}
	for i := range lines {
		at := position(lines[i].ID)
		follows := next == sink.Position{} || at.Compare(next) <= 0 ||
			at.Generation != next.Generation && at.Offset == 0 // the first line of another file
		if !follows {
			gap = at
		}
		next = behind(&lines[i])
	}
	if gap == (sink.Position{}) {
		return nil
	}
	return o.given.leaveOut(gap)
}

// explain says what an error means for the output, and what to do about it: one that is none of
// the server says that itself.
func (o *Output) explain(err error) error {
	if errors.Is(err, context.Canceled) || redisconn.Classify(err) == redisconn.Elsewhere {
		return fmt.Errorf("%s: %w", o.target, err)
	}
	return fmt.Errorf("%s: %s", o.target, redisconn.Explain(err))
}

// ready connects, and compares what the target has with what was delivered: all lines
// before first.
func (o *Output) ready(ctx context.Context, first sink.Position) error {
	if o.conn != nil {
		return nil
	}
	conn, err := o.Server.Dial(ctx, o.target.key())
	if err != nil {
		return o.explain(err)
	}
	has, err := o.target.look(ctx, conn)
	if err == nil {
		err = o.judge(ctx, has, first)
	}
	if err != nil && !errors.Is(err, carry.ErrMoved) {
		conn.Close()
		return o.explain(err)
	}
	o.conn, o.has = conn, has
	return err
}

// lookEvery is how often the target is looked at, so that a server that is away or was
// flushed is noticed while there are no lines.
const lookEvery = time.Second

// watch looks at the target while there are no lines, until ctx ends.
func (o *Output) watch(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if waiting, err := o.lookAgain(ctx); ctx.Err() == nil && !waiting {
			o.loop.Report(err)
		}
	}
}

// lookAgain compares what the target has with what it should have, unless lines wait: then
// send does.
func (o *Output) lookAgain(ctx context.Context) (waiting bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.given.save(); err != nil {
		o.warnings.Warn("save", "cannot save how far a Redis stream or list was filled; trying again",
			"target", o.target.String(), "err", err)
	}
	if o.waiting {
		return true, nil
	}
	if o.conn != nil {
		has, err := o.target.look(ctx, o.conn)
		if err == nil && has.at == o.has.at {
			o.has = has
			return false, nil
		}
		o.drop()
	}
	low, _, ok := o.Work.Progress(o.Group)
	if !ok {
		return false, nil // the group does not exist yet
	}
	err = o.ready(ctx, low)
	if errors.Is(err, carry.ErrMoved) {
		o.back, err = o.resume, nil
	}
	return false, err
}
