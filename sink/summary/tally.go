package summary

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"

	"fanin/internal/disk"
)

// The bounds of a tally: more series than these are counted together, and with more cells
// than these each cell becomes twice as long. At 16 bytes a cell, it holds at most 4 MiB of
// them, besides names.
const (
	maxTallied = 4096
	maxCells   = 1 << 18
	maxRow     = 1 << 16 // cells of all lines: to add one in between moves half of them
)

// Tally counts lines, in bounded memory. Make one with NewTally; one goroutine at a time may
// use it.
type Tally struct {
	step   int64 // minutes of a cell
	cells  int   // of all series, and of other
	series map[Series]*row
	all    row
	other  row
	now    *row // that of the last lines
}

type row struct {
	name  Series
	lines uint64
	cells []cell // in the order of time
}

// cell is how many lines there are in one cell of time, by its number.
type cell struct {
	number int64
	lines  uint64
}

func (c cell) compare(number int64) int { return cmp.Compare(c.number, number) }

// NewTally returns an empty tally.
func NewTally() *Tally {
	t := &Tally{step: 1, series: make(map[Series]*row)}
	t.now = &t.other
	return t
}

// Lines returns how many lines were counted.
func (t *Tally) Lines() uint64 { return t.all.lines }

// Add counts lines of a series, which were read in a minute since 1970.
func (t *Tally) Add(s Series, minute int64, lines uint64) {
	if lines == 0 {
		return
	}
	if t.now == &t.other || s != t.now.name {
		t.now = t.row(s)
	}
	t.add(t.now, minute, lines)
}

// AddBytes is Add for names as bytes, which it copies only if they are new.
func (t *Tally) AddBytes(host, source []byte, minute int64, lines uint64) {
	if lines == 0 {
		return
	}
	if t.now == &t.other || string(host) != t.now.name.Host || string(source) != t.now.name.Source {
		r := t.series[Series{string(host), string(source)}] // nothing is allocated to look it up
		if r == nil {
			r = t.row(Series{string(host), string(source)})
		}
		t.now = r
	}
	t.add(t.now, minute, lines)
}

// row finds or makes the row of a series.
func (t *Tally) row(s Series) *row {
	r := t.series[s]
	switch {
	case r != nil:
	case len(t.series) == maxTallied:
		r = &t.other
	default:
		r = &row{name: Series{strings.Clone(s.Host), strings.Clone(s.Source)}}
		t.series[r.name] = r
	}
	return r
}

func (t *Tally) add(r *row, minute int64, lines uint64) {
	number := floor(min(max(minute, earliest), latest), t.step)
	t.all.add(number, lines)
	t.cells += r.add(number, lines)
	for t.cells > maxCells || len(t.all.cells) > maxRow {
		t.coarsen()
	}
}

// add returns how many cells it added: one or none.
func (r *row) add(number int64, lines uint64) int {
	r.lines += lines
	i := len(r.cells)
	if i > 0 && r.cells[i-1].number >= number {
		var found bool
		i, found = slices.BinarySearchFunc(r.cells, number, cell.compare)
		if found {
			r.cells[i].lines += lines
			return 0
		}
	}
	r.cells = slices.Insert(r.cells, i, cell{number, lines})
	return 1
}

// coarsen makes each cell twice as long.
func (t *Tally) coarsen() {
	t.step *= 2
	t.all.coarsen()
	t.cells = t.other.coarsen()
	for _, r := range t.series {
		t.cells += r.coarsen()
	}
}

func (r *row) coarsen() int {
	n := 0
	for _, c := range r.cells {
		c.number = floor(c.number, 2)
		if n > 0 && r.cells[n-1].number == c.number {
			r.cells[n-1].lines += c.lines
			continue
		}
		r.cells[n] = c
		n++
	}
	r.cells = r.cells[:n]
	return n
}

// floor divides, and rounds down.
func floor(n, by int64) int64 {
	q := n / by
	if n%by < 0 {
		q--
	}
	return q
}

// Merge adds what another tally counted.
func (t *Tally) Merge(u *Tally) {
	for t.step < u.step {
		t.coarsen()
	}
	for _, s := range u.names() {
		t.merge(t.row(s), u.series[s], u.step)
	}
	t.merge(&t.other, &u.other, u.step)
	t.now = &t.other
}

func (t *Tally) merge(r, from *row, step int64) {
	for _, c := range from.cells {
		t.add(r, c.number*step, c.lines)
	}
}

// names are all series, those with the most lines first.
func (t *Tally) names() []Series {
	list := make([]Series, 0, len(t.series))
	for s := range t.series {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b Series) int {
		return cmp.Or(cmp.Compare(t.series[b].lines, t.series[a].lines), a.Compare(b))
	})
	return list
}

// Append appends the summary of a file to dst.
func (t *Tally) Append(dst []byte, f File) []byte {
	list := t.names()
	kept := list[:min(len(list), MaxSeries)]
	slices.SortFunc(kept, Series.Compare)
	rows := []*row{&t.all, t.others(list[len(kept):])}
	for _, s := range kept {
		rows = append(rows, t.series[s])
	}
	first, last := int64(0), int64(0)
	if all := rows[0].cells; len(all) > 0 {
		first, last = all[0].number, all[len(all)-1].number
	}
	var directory, cells []byte
	for i, r := range rows {
		var s Series
		if i >= ownRows {
			s = kept[i-ownRows]
		}
		at := len(cells)
		cells = r.append(cells, first)
		directory = append(binary.AppendUvarint(directory, uint64(len(s.Host))), s.Host...)
		directory = append(binary.AppendUvarint(directory, uint64(len(s.Source))), s.Source...)
		directory = binary.AppendUvarint(directory, r.lines)
		directory = binary.AppendUvarint(directory, uint64(len(cells)-at))
	}
	begin, le := len(dst), binary.LittleEndian
	dst = append(dst, magic...)
	for _, n := range []uint64{f.Generation, f.Inode, uint64(f.Opened), uint64(f.Size), t.all.lines, uint64(first),
		uint64(last)} {
		dst = le.AppendUint64(dst, n)
	}
	for _, n := range []int{int(t.step), len(rows), len(directory)} {
		dst = le.AppendUint32(dst, uint32(n))
	}
	dst = le.AppendUint32(dst, disk.Checksum(dst[begin:]))
	dst = append(append(dst, directory...), cells...)
	return le.AppendUint32(dst, disk.Checksum(dst[begin:]))
}

// append appends the cells of a row, of which none is before first.
func (r *row) append(dst []byte, first int64) []byte {
	for _, c := range r.cells {
		dst = binary.AppendUvarint(dst, uint64(c.number-first))
		dst = binary.AppendUvarint(dst, c.lines)
		first = c.number
	}
	return dst
}

// others returns the row of the lines of these series, and of those that have no row.
func (t *Tally) others(list []Series) *row {
	others, rows := &row{lines: t.other.lines}, [][]cell{t.other.cells}
	for _, s := range list {
		others.lines += t.series[s].lines
		rows = append(rows, t.series[s].cells)
	}
	for len(rows) > 1 { // in pairs, so that each cell is copied a few times, whatever the times are
		merged := rows[:0]
		for pair := range slices.Chunk(rows, 2) {
			if len(pair) == 2 {
				pair[0] = mergeCells(pair[0], pair[1])
			}
			merged = append(merged, pair[0])
		}
		rows = merged
	}
	others.cells = rows[0]
	return others
}

// mergeCells returns the cells of two rows, in the order of time.
func mergeCells(a, b []cell) []cell {
	merged := make([]cell, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch order := cmp.Compare(a[0].number, b[0].number); {
		case order < 0:
			merged, a = append(merged, a[0]), a[1:]
		case order > 0:
			merged, b = append(merged, b[0]), b[1:]
		default:
			merged = append(merged, cell{a[0].number, a[0].lines + b[0].lines})
			a, b = a[1:], b[1:]
		}
	}
	return append(append(merged, a...), b...)
}
