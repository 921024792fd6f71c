package redis

import (
	"bytes"
	"context"
	"errors"

	"fanin/sink"
	"fanin/sink/distribute/carry"
)

// judge decides from what the target has whether lines may be added: nil. All lines before
// first were delivered, and are not handed out again. If the target lacks some of them, the
// group goes back to the first one, and the error is carry.ErrMoved. Any other error says why
// nothing may be added.
func (o *Output) judge(ctx context.Context, has state, first sink.Position) error {
	_, accepted, _ := o.Work.Progress(o.Group)
	last, err := o.lineAt(ctx, has.at)
	if err != nil {
		return refusef("read the line at %s: %w", has.at, err)
	}
	if err := o.ours(has, last, first, accepted > 0); err != nil {
		return err
	}
	if !o.begin.known() || accepted == 0 && first.Compare(has.at) > 0 {
		if err := o.begin.set(first); err != nil {
			return err
		}
	}
	from, there := has.at, uint64(0) // so many of the lines from there on, the target has
	if last != nil {
		there = 1
	}
	if from.Compare(o.begin.at) < 0 {
		from, there = o.begin.at, 0
	}
	if from.Compare(first) >= 0 {
		return nil
	}
	lacking, exact, err := o.Sink.Count(ctx, from, first)
	if err != nil {
		return refusef("count the lines that the target lacks: %w", err)
	}
	if lacking <= there {
		return nil // what retention removed is counted by the group
	}
	return o.goBack(ctx, from, lacking-there, exact)
}

// goBack moves the group back: the target lost lines that it had.
func (o *Output) goBack(ctx context.Context, from sink.Position, lines uint64, exact bool) error {
	to, err := o.Work.Replay(ctx, o.Group, from.String())
	for _, other := range []string{sink.Position{Generation: from.Generation + 1}.String(), "start"} {
		if errors.Is(err, sink.ErrNoPosition) { // the log lost what was there
			to, err = o.Work.Replay(ctx, o.Group, other)
		}
	}
	if err != nil {
		return refusef("move the group back to %s: %w", from, err)
	}
	least := ""
	if !exact {
		least = " at_least=true"
	}
	o.counts.resent.Add(lines)
	o.Sink.Notice("RESENT group=%s target=%q lines=%d%s from=%s reason=%q", o.Group, o.name(), lines, least, to,
		"the server lost them: it failed over, was flushed or replaced, or lost its last writes; they are sent again")
	o.resume, o.next = to, sink.Position{}
	return carry.ErrMoved
}

// ours returns why a target that has lines may not be written to. Last is the line that the
// log has where the target ends, nil for none; delivered reports whether the group has ever
// finished a line.
func (o *Output) ours(has state, last []byte, first sink.Position, delivered bool) error {
	id := o.Sink.Status().Log
	const remedy = "delete it, or give this output another name, and lines go there from the group's position on"
	switch {
	case has.at == sink.Position{}:
		return nil
	case has.owner != "" && has.owner != id:
		return refusef("its last entry is of log %.40s, and this is log %s; nothing is added, since lines would be "+
			"taken for those that are there: "+remedy, has.owner, id)
	case has.at.Compare(o.Sink.End()) > 0:
		return refusef("its last entry is at %s, and this log ends at %s: another program writes to it, or this log "+
			"is an older copy of itself; nothing is added: "+remedy, has.at, o.Sink.End())
	case has.at.Compare(first) < 0:
		return nil // every line from first on is behind what is there
	case has.owner == "" && !delivered:
		return refusef("it is empty and its last id is %s, so it cannot be told whether the lines before that were "+
			"in it; nothing is added: "+remedy, has.at)
	case last == nil || has.same != nil && !has.same(last):
		return refusef("its last entry at %s is not the line that this log has there: this log is an older copy of "+
			"itself, continued; nothing is added: "+remedy, has.at)
	}
	return nil
}

// lineAt reads a line of the log, without its newline; nil: there is none, or not any more.
func (o *Output) lineAt(ctx context.Context, at sink.Position) ([]byte, error) {
	if (at == sink.Position{}) {
		return nil, nil
	}
	r := o.Sink.Reader(at)
	defer r.Close()
	text, from, err := r.Read(ctx, make([]byte, 64<<10))
	var gone *sink.GoneError
	switch {
	case errors.As(err, &gone) || errors.Is(err, sink.ErrNoPosition) || err == nil && from != at:
		return nil, nil
	case err != nil || text == nil:
		return nil, err
	}
	line, _, _ := bytes.Cut(text, []byte{'\n'})
	return line, nil
}
