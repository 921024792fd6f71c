package decode

import (
	"bytes"

	"fanin/internal/lines"
	"fanin/internal/wire"
)

// divideFirst divides the first entry in Raw, which is longer than a line or than the block.
func (j *joiner) divideFirst() Lines {
	end := bytes.IndexByte(j.Raw, '\n')
	next, whole := end+1, end >= 0
	if !whole {
		end, next, whole = len(j.Raw), len(j.Raw), j.End
	}
	e := j.records.read(&j.clock, j.Raw[:end], whole)
	if !whole && len(e.text) < lines.MinLimit { // a record of almost no text, which has no end in sight
		e = entry{text: j.Raw[:end], stream: noStream, unfit: true}
	}
	line := &j.open[e.stream]
	line.forget(j.Offset, 0)
	return j.divideEntry(&e, line.inner, next, whole)
}

// divideRest continues in an entry of which a part was yielded.
func (j *joiner) divideRest() Lines {
	end := bytes.IndexByte(j.Raw, '\n')
	next, whole := end+1, end >= 0
	if !whole {
		if !j.End && !j.Limit && j.Held < openFor && j.Quiet < openFor {
			return Lines{Wait: openFor}
		}
		end, next, whole = len(j.Raw), len(j.Raw), j.End
	}
	j.resumed = true
	begin := recordBefore(j.Before, j.Offset)
	if begin == nil && j.Back != nil {
		before := j.Back(Reach)
		begin = recordBefore(before, j.Offset)
	}
	e := j.records.rest(&j.clock, begin, j.Raw[:end], whole)
	return j.divideEntry(&e, true, next, whole)
}

// recordBefore returns the beginning of the record that ends with before, whose last byte is
// at offset-1; nil if its beginning is not there.
func recordBefore(before []byte, offset int64) []byte {
	n := bytes.LastIndexByte(before, '\n') + 1
	if n == 0 && int64(len(before)) < offset {
		return nil
	}
	return before[n:]
}

// divideEntry yields parts of one entry, as many as a piece may have, and at least one. The
// record ends at next; or, if it is not whole, what is known of it.
func (j *joiner) divideEntry(e *entry, goesOn bool, next int, whole bool) Lines {
	limit, at := lines.PartLimit(j.MaxLine), 0
	for {
		size := len(j.out.Text)
		room := min(limit, cap(j.out.Text)-size-partRoom-(len(j.out.Marks)+1)*markRoom)
		if j.held > 0 {
			room = min(room, wire.MaxCutText-size-partRoom)
		}
		if room < limit && j.held > 0 || j.held == wire.MaxCutLines {
			break
		}
		if !whole && j.held > 0 && len(e.text)-at < limit {
			break // the next call has more of it
		}
		j.begin(e.time, goesOn)
		var n int
		j.out.Text, n = j.records.appendPart(j.out.Text, e.text[at:], room, e.unfit)
		at, goesOn = at+n, true
		if n == 0 || whole && at == len(e.text) {
			if n == 0 && !whole {
				return Lines{} // an escape that is cut off
			}
			return j.endEntry(e, next)
		}
		j.endLine(wire.SplitMark, e.stream)
	}
	j.reach(e.at + at)
	out := j.upToPlace()
	out.Inside, out.Split = true, true
	return out
}

// endEntry ends the last part of an entry that was divided.
func (j *joiner) endEntry(e *entry, next int) Lines {
	open := e.open && !j.End
	mark := ""
	if open {
		mark = wire.SplitMark
	}
	j.endLine(mark, e.stream)
	j.open[e.stream] = openLine{}
	if e.unfit {
		j.out.Unfit++
	}
	j.reach(next)
	out := j.upToPlace()
	out.Inside, out.Split = out.Inside || open || j.resumed, open
	return out
}

// remember finds the lines of which a part was yielded, in what precedes Raw. What is too far
// back is forgotten: the rest of such a line has no mark that it went on.
func (j *joiner) remember() {
	before := j.Before
	if j.Back != nil {
		before = j.Back(Reach)
	}
	all := wholeRecords(before, j.Offset)
	base := -len(all)
	for at := 0; at < len(all); {
		n := bytes.IndexByte(all[at:], '\n') + 1
		e := j.records.read(&j.clock, all[at:at+n-1], true)
		j.open[e.stream] = openLine{inner: e.open, start: base + at}
		at += n
	}
}

// wholeRecords returns the records in before, whose end is the end of one at offset.
func wholeRecords(before []byte, offset int64) []byte {
	if int64(len(before)) == offset {
		return before
	}
	return before[bytes.IndexByte(before, '\n')+1:]
}

// lineStart returns the last place in raw that is inside no line; -1: it has no record from
// its beginning.
func lineStart(r records, raw []byte, offset int64) int {
	last, at := -1, 0
	if offset == 0 {
		last = 0
	} else if at = bytes.IndexByte(raw, '\n') + 1; at == 0 {
		return -1
	}
	var c clock
	var open [streams]bool
	for {
		n := bytes.IndexByte(raw[at:], '\n') + 1
		if n == 0 {
			return last
		}
		e := r.read(&c, raw[at:at+n-1], true)
		open[e.stream] = e.open
		if at += n; !open[0] && !open[1] {
			last = at
		}
	}
}
