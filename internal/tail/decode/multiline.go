package decode

import (
	"bytes"
	"cmp"
	"regexp"
	"slices"
	"time"

	"fanin/internal/wire"
)

// Multiline is the decoder of records that have several lines, such as stack traces: it
// joins the lines of another decoder. A record is one line, with newlines inside as
// wire.AppendRecord writes them; a CR before one is dropped. It begins with a line that First matches
// and ends before the next one of its stream, at a bound, or when its stream is silent
// for Timeout: by the times that lines show, where they show any, and else by how the
// file grows. Lines before the first match are records, too, so that no line is lost.
//
// Where a source has two streams, as a container's log has, the lines of one may be
// around those of the other. A place is one at which no record of either is open. That is
// decided from what follows: a record has ended before its stream's next first line, and
// not only there.
//
// What is divided near a line that is too long is not joined. Where such a line ends, its last part
// begins a record.
type Multiline struct {
	Of       Decoder        // of the lines
	First    *regexp.Regexp // of a record's first line, without its line end
	MaxLines int            // of a record; the rest is another record
	MaxBytes int            // likewise; a single line may have more
	Timeout  time.Duration
}

// of returns the same for the lines of another decoder.
func (m *Multiline) of(d Decoder) Decoder {
	other := *m
	other.Of = d
	return &other
}

// Scale leaves as much room for records as the text of the lines has.
func (m *Multiline) Scale() int { return m.Of.Scale() + 1 }

// divide returns the block of the lines, and the room for records behind it.
func (m *Multiline) divide(block []byte) (inner, room []byte) {
	n := len(block) / m.Scale()
	return block[:len(block)-n], block[len(block)-n:]
}

// Window is that of the lines' decoder.
func (m *Multiline) Window(block []byte) []byte {
	inner, _ := m.divide(block)
	return m.Of.Window(inner)
}

// LineStart is that of the lines' decoder: a record may be divided at each line.
func (m *Multiline) LineStart(raw []byte, offset int64) int { return m.Of.LineStart(raw, offset) }

// Decode yields whole records.
func (m *Multiline) Decode(in Input) Lines {
	inner := in
	block, room := m.divide(in.Block)
	inner.Block, inner.Each, inner.Ahead = block, true, 0
	got := m.Of.Decode(inner)
	if len(got.Text) == 0 || got.Inside || got.Split || !got.areKnown() {
		return got
	}
	rest := in.Raw[got.Raw:]
	more := in.End && len(rest) > 0 || len(rest) >= in.MaxLine || m.Of.LineStart(rest, in.Offset+int64(got.Raw)) > 0
	j := joining{m: m, got: &got, room: room, maxLine: in.MaxLine, ahead: in.Ahead, next: make([]int32, len(got.Each))}
	j.group(len(got.Each), m.MaxLines, !more && !in.Limit && (in.End || in.Quiet >= m.Timeout))
	end := j.end(in.Limit)
	if end < 0 && in.Limit { // what follows the end of the file before does not fit behind it
		j.ahead = 0
		end = j.end(true)
	}
	if end < 0 {
		return Lines{Short: more, Wait: min(m.Timeout, cmp.Or(got.Wait, m.Timeout))}
	}
	if out, ok := j.write(end); ok {
		return out
	}
	return j.writeBounded()
}

// areKnown reports whether all lines are listed: of a part of a line that is too long, none is.
func (l *Lines) areKnown() bool {
	n := len(l.Each)
	return n > 0 && l.Each[n-1].Text == len(l.Text)
}

// joining joins the lines of one Decode.
type joining struct {
	m       *Multiline
	got     *Lines
	room    []byte
	maxLine int
	ahead   int     // no place up to here
	count   int     // of the lines that are looked at
	next    []int32 // of each line: the next one of its record, -1 for none
	records []record
}

// record is a record, or what there is of it: its first and last lines.
type record struct {
	first, last  int
	lines, bytes int       // as it is written
	shown        time.Time // by its last line
	open         bool      // lines that are not there yet may belong to it
	divided      bool      // it ends at a bound
}

// group assigns the first lines, count of them, to records. Where closed is set, nothing
// follows them.
func (j *joining) group(count, maxLines int, closed bool) {
	j.count, j.records = count, j.records[:0]
	open := [2]int{-1, -1}                          // record of each stream
	at, marks, shown := 0, j.got.Marks, time.Time{} // of the line
	for i, l := range j.got.Each[:count] {
		for len(marks) > 0 && marks[0].Text <= at {
			shown, marks = marks[0].Labels.Time, marks[1:]
		}
		text := withoutEnd(j.got.Text[at:l.Text])
		at, j.next[i] = l.Text, -1
		last := &open[l.Stream&1]
		if *last < 0 || !j.continues(&j.records[*last], text, shown, maxLines) {
			*last = len(j.records)
			j.records = append(j.records, record{first: i, last: i})
		}
		r := &j.records[*last]
		if r.lines > 0 {
			j.next[r.last] = int32(i)
		}
		r.last, r.shown, r.lines = i, shown, r.lines+1
		r.bytes += written(text)
	}
	for _, k := range open {
		if k >= 0 && !closed && !j.late(&j.records[k], shown) {
			j.records[k].open = true
		}
	}
}

// continues reports whether a line is the next one of a record of its stream.
func (j *joining) continues(r *record, text []byte, shown time.Time, maxLines int) bool {
	if j.m.First.Match(text) || j.late(r, shown) {
		return false
	}
	r.divided = r.lines >= maxLines || r.bytes+written(text) > min(j.m.MaxBytes, j.maxLine)
	return !r.divided
}

// written is how many bytes a line has at most in a record.
func written(text []byte) int { return len(text) + bytes.Count(text, []byte{0xc0}) + len("\r\n") }

// late reports whether a record had ended when a line showed this time.
func (j *joining) late(r *record, shown time.Time) bool {
	return !r.shown.IsZero() && shown.Sub(r.shown) >= j.m.Timeout
}

// end returns the last line behind which no record is open, -1 if there is none. If it
// must find one, it ends records that may go on: the one that began last only if it must.
func (j *joining) end(must bool) int {
	end := j.lastPlace()
	if end >= 0 || !must {
		return end
	}
	last := -1
	for i := range j.records {
		if j.records[i].open && last >= 0 {
			j.records[last].open = false
		}
		if j.records[i].open {
			last = i
		}
	}
	if end = j.lastPlace(); end < 0 && last >= 0 {
		j.records[last].open = false
		end = j.lastPlace()
	}
	return end
}

// lastPlace returns the last line behind which the source may be read on.
func (j *joining) lastPlace() int {
	last := -1
	for i := range j.places {
		last = i
	}
	return last
}

// places yields the lines behind which the source may be read on.
func (j *joining) places(yield func(line int) bool) {
	reach, records := -1, j.records
	for i, l := range j.got.Each[:j.count] {
		if len(records) > 0 && records[0].first == i {
			if reach = max(reach, records[0].last); records[0].open {
				return // and so are all places from here on
			}
			records = records[1:]
		}
		if l.Raw > j.ahead && reach <= i && !yield(i) {
			return
		}
	}
}

// writeBounded yields no more than a batch may have between two places: records that
// are interleaved for longer are divided there. Lines that do not even fit as they are
// written in records are not joined.
func (j *joining) writeBounded() Lines {
	limit := min(len(j.room), wire.MaxCutText)
	first := slices.IndexFunc(j.got.Each, func(l Line) bool { return l.Raw >= 0 })
	last := first
	for i, l := range j.got.Each {
		if l.Raw >= 0 && l.Text+i < limit && i < wire.MaxCutLines {
			last = i
		}
	}
	j.group(last+1, j.m.MaxLines, true)
	if out, ok := j.write(last); ok {
		return out
	}
	j.group(first+1, 1, true)
	out, _ := j.write(first)
	return out
}

// withoutEnd returns a line without its newline, and without one CR before it.
func withoutEnd(line []byte) []byte {
	return bytes.TrimSuffix(line[:len(line)-1], []byte{'\r'})
}
