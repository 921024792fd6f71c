package decode

import (
	"bytes"
	"time"

	"fanin/internal/lines"
	"fanin/internal/wire"
)

// openFor is for how long a line may stay open when others, or nothing, follow. The last line
// of a container that ends without a newline stays open for ever.
const openFor = 5 * time.Second

// joiner makes lines of entries, in the order in which they end. It can be read on where no
// stream has an open line.
//
// Between two such places lies a piece. A piece is no longer than what the log takes without
// a cut: so an open line is divided when too many lines of the other stream follow it, as when
// it is too long, or open for too long.
type joiner struct {
	Input
	records
	clock clock
	out   Lines
	open  [streams]openLine

	last      time.Time // of the last mark
	held      int       // lines behind the last place
	since     Place     // the last cut
	sinceLine int       // lines between the last cut and the last place
	place     Place     // the last place
	marks     int       // marks before it
	each      int       // lines before it
	unfit     int       // lines before it that are not of the format
	crowded   bool      // the block has no room for more
	resumed   bool      // Raw begins inside an entry: of the other stream nothing is known
}

// openLine is a line that has begun and not ended.
type openLine struct {
	begun bool
	from  int       // where its first entry begins in Raw
	size  int       // bytes of its text, or a few more
	time  time.Time // of its first entry

	inner bool // a part of it was yielded, ...
	start int  // ... the last entry of which begins here in Raw, perhaps before it
}

// markRoom is what a mark takes of the room for text: see wire.Batch.LabelBytes.
const markRoom = 64

// partRoom is what the marks of a divided line, and its end, add to a part.
const partRoom = len(wire.SplitMark) + 1 + len(wire.SplitGoesOn)

// join decodes the records of a container's log.
func join(r records, in Input) Lines {
	j := joiner{Input: in, records: r}
	j.out.Text = in.Block[: 0 : len(in.Block)/2]
	j.out.Marks = make([]wire.Mark, 0, min(len(in.Raw)/shortest, wire.MaxMarks))
	if len(in.Raw) == 0 {
		return Lines{}
	}
	if in.Inside && in.Offset > 0 {
		if n := len(in.Before); n > 0 && in.Before[n-1] != '\n' {
			return j.divideRest()
		}
		j.remember()
	}
	end := j.read()
	switch {
	case in.Each && in.End && end == len(in.Raw):
		return j.endAll(end)
	case j.place.Raw > 0:
		return j.upToPlace()
	case in.End && end == len(in.Raw):
		return j.endAll(end)
	case j.mustDivide(end):
		return j.divide(end)
	case end > 0:
		return Lines{Wait: openFor, Short: j.crowded}
	}
	return Lines{Short: j.crowded}
}

// mustDivide reports whether what was read up to end, which no place follows, can no longer
// be held back.
func (j *joiner) mustDivide(end int) bool {
	long := !j.crowded && end < j.lastEnd() // the next record makes it too long
	return long || j.Limit || end > 0 && (j.Held >= openFor || j.Quiet >= openFor)
}

// lastEnd returns where the last record ends that is whole.
func (j *joiner) lastEnd() int {
	if j.End {
		return len(j.Raw)
	}
	return bytes.LastIndexByte(j.Raw, '\n') + 1
}

// read reads entries up to the first that does not fit or is not whole, and returns its place.
func (j *joiner) read() (at int) {
	for at < len(j.Raw) {
		end := bytes.IndexByte(j.Raw[at:], '\n')
		next := at + end + 1
		if end < 0 {
			if !j.End {
				return at
			}
			end, next = len(j.Raw)-at, len(j.Raw)
		}
		e := j.records.read(&j.clock, j.Raw[at:at+end], true)
		if !j.add(&e, at, next) {
			return at
		}
		if at = next; j.open[0].begun || j.open[1].begun {
			continue
		}
		j.reach(at)
	}
	return at
}

// add adds the entry between two places in Raw, unless it does not fit.
func (j *joiner) add(e *entry, at, next int) bool {
	line := &j.open[e.stream]
	if !line.begun {
		line.forget(j.Offset, at)
	}
	size := line.size + len(e.text)
	limit := j.MaxLine - 1
	if line.inner {
		limit -= len(wire.SplitGoesOn)
	}
	if e.open {
		limit = lines.PartLimit(j.MaxLine)
	}
	if size > limit || !j.fits(line, e) {
		return false
	}
	if e.open {
		if !line.begun {
			line.begun, line.from, line.time = true, at, e.time
		}
		line.size, line.start = size, at
		return true
	}
	t := e.time
	if line.begun {
		t = line.time
	}
	j.begin(t, line.inner)
	if line.begun {
		j.parts(e.stream, line.from, at)
	}
	j.out.Text = j.records.append(j.out.Text, e.text, e.unfit)
	j.endLine("", e.stream)
	if e.unfit {
		j.out.Unfit++
	}
	if j.Each {
		j.out.Each[len(j.out.Each)-1].Unfit = e.unfit
	}
	*line = openLine{}
	return true
}

// fits reports whether an entry fits into the block and into the piece.
func (j *joiner) fits(line *openLine, e *entry) bool {
	piece := len(j.out.Text) - j.place.Text + len(e.text) + partRoom
	others := 0
	for i := range j.open {
		if l := &j.open[i]; l.begun {
			piece += l.size + partRoom
			if l != line {
				others++
			}
		}
	}
	if marks := len(j.out.Marks) + streams; marks >= wire.MaxMarks ||
		j.place.Text+piece+marks*markRoom > cap(j.out.Text) {
		j.crowded = marks < wire.MaxMarks
		return false
	}
	return piece <= wire.MaxCutText && j.held < wire.MaxCutLines-streams || j.held == 0 && others == 0
}

// forget forgets that a part of the line was yielded if that is too far before a place in Raw
// for remember to find it there: a decoder that begins at the place must yield the same.
func (l *openLine) forget(offset int64, at int) {
	if l.start <= at-Reach && offset+int64(at) > Reach {
		l.inner = false
	}
}

// begin begins a line.
func (j *joiner) begin(t time.Time, goesOn bool) {
	if !t.Equal(j.last) {
		j.out.Marks = append(j.out.Marks, wire.Mark{Text: len(j.out.Text), Labels: wire.Labels{Time: t}})
		j.last = t
	}
	if goesOn {
		j.out.Text = append(j.out.Text, wire.SplitGoesOn...)
	}
}

// parts appends the parts of a stream's line that are between two places in Raw.
func (j *joiner) parts(stream uint8, at, to int) {
	for at < to {
		end := bytes.IndexByte(j.Raw[at:], '\n')
		if end < 0 { // the last record of a file that will not grow
			end = to - at
		}
		if e := j.records.read(&j.clock, j.Raw[at:at+end], true); e.stream == stream {
			j.out.Text = j.records.append(j.out.Text, e.text, e.unfit)
		}
		at += end + 1
	}
}

// endLine ends a line, with a mark if it goes on.
func (j *joiner) endLine(mark string, stream uint8) {
	j.out.Text = append(append(j.out.Text, mark...), '\n')
	j.held++
	if j.Each {
		j.out.Each = append(j.out.Each, Line{Text: len(j.out.Text), Raw: -1, Stream: stream & 1})
	}
}

// reach notes that the source can be read on at a place in Raw. The place before becomes a cut
// if the piece that ends here does not fit behind the last cut.
func (j *joiner) reach(raw int) {
	text := len(j.out.Text)
	if j.sinceLine+j.held > wire.MaxCutLines || text-j.since.Text > wire.MaxCutText {
		if j.place.Text > j.since.Text {
			j.out.Cuts = append(j.out.Cuts, j.place)
			j.since, j.sinceLine = j.place, 0
		}
	}
	j.sinceLine += j.held
	j.held = 0
	j.place = Place{Text: text, Raw: raw}
	j.marks, j.unfit, j.out.Inside = len(j.out.Marks), j.out.Unfit, j.open[0].inner || j.open[1].inner
	if j.each = len(j.out.Each); j.each > 0 {
		j.out.Each[j.each-1].Raw = raw
	}
}

// upToPlace returns what is before the last place.
func (j *joiner) upToPlace() Lines {
	out := j.out
	out.Text, out.Raw = out.Text[:j.place.Text], j.place.Raw
	out.Marks, out.Each, out.Unfit = out.Marks[:j.marks], out.Each[:j.each], j.unfit
	return out
}

// endAll ends all lines: nothing follows.
func (j *joiner) endAll(end int) Lines {
	j.flush("", end)
	j.reach(end)
	return j.upToPlace()
}

// divide yields what there is of the open lines, each with a mark. If not even the first entry
// fits, it is divided.
func (j *joiner) divide(end int) Lines {
	if end == 0 {
		return j.divideFirst()
	}
	j.flush(wire.SplitMark, end)
	j.reach(end)
	out := j.upToPlace()
	out.Split = out.Inside
	return out
}

// flush writes the open lines, in the order in which they begin, with a mark behind each.
func (j *joiner) flush(mark string, end int) {
	for range streams {
		first := -1
		for i := range j.open {
			if l := &j.open[i]; l.begun && (first < 0 || l.from < j.open[first].from) {
				first = i
			}
		}
		if first < 0 {
			return
		}
		line := &j.open[first]
		j.begin(line.time, line.inner)
		j.parts(uint8(first), line.from, end)
		j.endLine(mark, uint8(first))
		*line = openLine{inner: mark != "", start: line.start}
	}
}
