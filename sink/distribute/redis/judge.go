package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"

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
		return fmt.Errorf("read the line at %s: %w", has.at, err)
	}
	if err := o.ours(ctx, has, last, first, accepted > 0); err != nil {
		return err
	}
	if !o.given.known() || accepted == 0 && first.Compare(has.at) > 0 {
		if err := o.given.setBegin(first); err != nil {
			return err
		}
	}
	if err := o.lost(ctx, has.at); err != nil {
		return err
	}
	o.given.reached(has.at)
	from, there := has.at, uint64(0) // so many of the lines from there on, the target has
	if last != nil {
		there = 1
	}
	if from.Compare(o.given.begin) < 0 {
		from, there = o.given.begin, 0
	}
	if from.Compare(first) >= 0 {
		return nil
	}
	lacking, exact, err := o.Sink.Count(ctx, from, first)
	if err != nil {
		return fmt.Errorf("count the lines that the target lacks: %w", err)
	}
	if lacking <= there {
		return nil // what retention removed is counted by the group
	}
	return o.goBack(ctx, from, lacking-there, exact)
}

// goBack moves the group back: the target lost lines that it had.
func (o *Output) goBack(ctx context.Context, from sink.Position, lines uint64, exact bool) error {
	to, err := o.resolve(ctx, from)
	if err == nil {
		to, err = o.Work.Replay(ctx, o.Group, to.String())
	}
	if err != nil {
		return fmt.Errorf("move the group back to %s: %w", from, err)
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

// resolve returns the position from which on the log has lines, where it has lost or removed what
// was at another.
func (o *Output) resolve(ctx context.Context, from sink.Position) (at sink.Position, err error) {
	at, err = o.Sink.Resolve(ctx, from.String())
	for _, other := range []string{sink.Position{Generation: from.Generation + 1}.String(), "start"} {
		if errors.Is(err, sink.ErrNoPosition) {
			at, err = o.Sink.Resolve(ctx, other)
		}
	}
	return at, err
}

// lost finds out whether a target that has the log up to a line lacks lines that it was given,
// and that the log does not have any more. These are reported, and nothing before the end of
// them is missed from then on.
func (o *Output) lost(ctx context.Context, has sink.Position) error {
	if has.Compare(o.given.before) < 0 {
		o.reportLost(has, o.given.begin, "what is before the second one is not sent again, since lines that follow it "+
			"were never sent")
		o.given.before, o.given.unsaved = sink.Position{}, true
	}
	from := has
	if from.Compare(o.given.begin) < 0 {
		from = o.given.begin
	}
	if from.Compare(o.given.end) >= 0 {
		return nil
	}
	_, exact, err := o.Sink.Count(ctx, from, o.given.end)
	if err != nil {
		return fmt.Errorf("count the lines that the target lacks: %w", err)
	}
	if exact {
		return nil
	}
	to, err := o.resolve(ctx, from)
	if err == nil {
		err = o.given.setBegin(to)
	}
	if err != nil {
		return fmt.Errorf("find the first line that the log has behind %s: %w", from, err)
	}
	o.reportLost(from, to, "retention has removed the files up to the second one")
	return nil
}

// reportLost reports lines that the target lost and does not get again.
func (o *Output) reportLost(from, to sink.Position, why string) {
	o.counts.lost.Add(1)
	o.Log.Error(
		"a Redis server lost lines that cannot be sent again: the log does not have them, or not all that follow",
		"target", o.name(), "group", o.Group, "from", from.String(), "to", to.String())
	o.Sink.Notice("LOST unit=lines n=unknown reason=redis-output group=%s target=%q from=%s to=%s: the server lost "+
		"what it had behind the first of these positions, and %s", o.Group, o.name(), from, to, why)
}

// ours returns why a target that has lines may not be written to. Last is the line that the
// log has where the target ends, nil for none; delivered reports whether the group has ever
// finished a line.
func (o *Output) ours(ctx context.Context, has state, last []byte, first sink.Position, delivered bool) error {
	id := o.Sink.Status().Log
	switch {
	case has.at == sink.Position{}:
		if has.bare > 0 && (delivered || o.given.end != sink.Position{}) {
			return o.cursorGone(ctx, has)
		}
		return nil
	case has.owner != "" && has.owner != id:
		return o.foreign("its last entry is of log %.40s, and this is log %s: lines would be taken for those that "+
			"are there", has.owner, id)
	case has.at.Compare(o.Sink.End()) > 0:
		return o.foreign("its last entry is at %s, and this log ends at %s: another program writes to it, or this log "+
			"is an older copy of itself", has.at, o.Sink.End())
	case has.at.Compare(first) < 0:
		return nil // every line from first on is behind what is there
	case has.owner == "" && !delivered:
		return o.foreign("it is empty and its last id is %s, so it cannot be told whether the lines before that were "+
			"in it", has.at)
	case last == nil || has.same != nil && !has.same(last):
		return o.foreign("its last entry at %s is not the line that this log has there: this log is an older copy of "+
			"itself, continued", has.at)
	}
	return nil
}

// foreign is the refusal to add to a target that is not ours, with what to do about it.
func (o *Output) foreign(format string, args ...any) error {
	remedy := "; nothing is added: give this output another name, and lines go there from the group's position on; " +
		"or delete it, and "
	if o.given.known() {
		remedy += fmt.Sprintf("all lines from %s on, with which this output began, are sent again", o.given.begin)
		if o.Stream != "" {
			remedy += fmt.Sprintf(" (what only frees its memory is XTRIM %s MAXLEN 0)", o.Stream)
		}
	} else {
		remedy += "lines go there from the group's position on"
	}
	return fmt.Errorf("%s", fmt.Sprintf(format, args...)+remedy)
}

// cursorGone is the refusal to add to a list that has elements and no cursor.
func (o *Output) cursorGone(ctx context.Context, has state) error {
	last, err := o.lineAt(ctx, o.given.end)
	if err != nil {
		return fmt.Errorf("read the line at %s: %w", o.given.end, err)
	}
	return o.target.(*list).cursorGone(has, &o.given, last)
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
