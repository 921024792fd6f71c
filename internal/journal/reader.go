package journal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"unicode/utf8"

	"fanin/internal/sequence"
	"fanin/internal/wire"
)

// reader turns the entries that one run of journalctl prints into records: it leaves out
// those that were read before, and notices those that are missing.
//
// The number of an entry is one more than that of the entry before, in whatever file they
// are. So a number that is missing is an entry that this agent cannot read: it was removed
// to make space, or is in a damaged file, or in one that the agent may not read.
type reader struct {
	filter  filter
	sources *sourceNamer
	out     *buffer
	line    int                   // bytes of a line at most
	seen    map[sequenceID]*place // the latest entry of each sequence; the time is the latest of all
	anchor  place                 // the entry that must come before all others of its sequence; no number: none
	started int64                 // when journalctl was started, in microseconds since 1970
	doubted place                 // behind this entry, a run before this one found others missing

	anchored atomic.Bool // the anchor was found, or there is none
	last     *place      // of seen: that of the latest entry
	lines    []byte      // of the latest entry
}

var (
	// errNoAnchor: the entry at which reading resumes is not in the journal any more, or
	// another one has its number. What is there is found by reading all of it.
	errNoAnchor = errors.New("the journal does not have the last entry that was sent")

	// errSilent: journalctl printed nothing for so long that it may hang.
	errSilent = errors.New("journalctl printed nothing")
)

// doubtError says that entries seem to be missing behind one that is new: journalctl may
// have met a file too late, after a later entry in another one. A new run reads them in order.
type doubtError struct{ after place }

func (e *doubtError) Error() string {
	return fmt.Sprintf("entries behind number %d seem to be missing", e.after.number)
}

// newReader returns a reader that goes on behind the entries in seen.
func newReader(seen map[sequenceID]place) *reader {
	r := &reader{seen: make(map[sequenceID]*place, len(seen)), last: new(place)}
	for id, p := range maps.All(seen) {
		r.seen[id] = &p
	}
	return r
}

// read reads entries until an error ends it.
func (r *reader) read(ctx context.Context, p *parser) error {
	var e entry
	for {
		if err := p.next(&e); err != nil {
			return err
		}
		r.out.heard.Add(1)
		if err := r.entry(ctx, &e); err != nil {
			return err
		}
	}
}

// entry adds the record of an entry.
func (r *reader) entry(ctx context.Context, e *entry) error {
	if r.filter.isForeign(e) {
		return nil
	}
	if r.anchor.number > 0 && e.id == r.anchor.id {
		if e.number != r.anchor.number || e.time != r.anchor.time {
			return errNoAnchor
		}
		r.anchor.number = 0
		r.anchored.Store(true)
	}
	c := record{place: e.place, short: e.short}
	last := r.last
	if last.id != e.id {
		last = r.seen[e.id]
	}
	if last == nil { // the first one of its sequence: what was before is not ours
		last = &place{id: e.id}
		r.seen[e.id] = last
	} else {
		switch {
		case e.number <= last.number && e.time <= last.time:
			return nil
		case e.number <= last.number: // another entry has the number now, see stream.add
		case e.number > last.number+1:
			if e.time >= r.started && r.doubted != *last {
				return &doubtError{*last}
			}
			c.missing = e.number - last.number - 1
		}
	}
	last.number, last.time = e.number, max(e.time, last.time)
	r.last = last
	r.fill(&c, e)
	return r.out.add(ctx, c)
}

// fill adds an entry's lines to its record, if the filter lets it pass.
func (r *reader) fill(c *record, e *entry) {
	c.suppressed, _ = e.suppressed()
	if !r.filter.passes(e) {
		c.short = false
		return
	}
	c.source, c.shown, c.attributes = r.sources.of(e), e.shown(), r.filter.attributes(e)
	var short bool
	c.text, short = r.text(e.get(message))
	c.short = c.short || short
}

// text makes whole lines of a message: one, unless it is too long. short: even so divided, its
// end is left out.
func (r *reader) text(message []byte) (text []byte, short bool) {
	for len(message) > 0 && message[len(message)-1] == '\n' {
		message = message[:len(message)-1]
	}
	if cap(r.lines) > windowBytes {
		r.lines = nil
	}
	r.lines = append(wire.AppendRecord(r.lines[:0], message), '\n')
	if len(r.lines) <= r.line {
		return r.lines, false
	}
	most := r.line - len(wire.SplitMark) - len(wire.SplitGoesOn) - 1
	if wire.IsRecord(r.lines) {
		most /= 2 // a byte may take two in a record
	}
	if short = len(message) > sequence.MaxLines*(most-utf8.UTFMax); short {
		message = message[:sequence.MaxLines*(most-utf8.UTFMax)]
	}
	r.lines = r.lines[:0]
	for len(message) > most {
		cut := wire.CutLine(message, most)
		r.lines = wire.AppendRecord(r.lines, message[:cut])
		r.lines = append(r.lines, wire.SplitMark+"\n"+wire.SplitGoesOn...)
		message = message[cut:]
	}
	return append(wire.AppendRecord(r.lines, message), '\n'), short
}
