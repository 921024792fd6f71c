package summary

import (
	"fmt"
	"math/bits"
)

// hour is how long a cell of an outline is, in minutes, if the cells of its summary fit into that.
const hour = 60

// Outline returns the first 80 bytes of s, and then a summary of the same lines with cells of an hour,
// for histograms of weeks: that has a thirtieth of the bytes. Where the summary has cells that no hour is
// a multiple of, those of its outline have the next power of two.
func (s *Summary) Outline() []byte {
	t := NewTally()
	if t.step = hour; hour%s.Step != 0 {
		t.step = max(64, s.Step)
	}
	t.AddSummary(s)
	return t.Append(append([]byte(nil), s.head...), s.File)
}

// ParseOutline reads an outline: the beginning of the summary, and the lines by the hour.
func ParseOutline(b []byte) (head, outline *Summary, err error) {
	if head, err = ParseHead(b); err != nil {
		return nil, nil, err
	}
	outline, err = Parse(b[headerSize:])
	if err == nil && (outline.File != head.File || outline.Lines != head.Lines) {
		err = fmt.Errorf("%w: an outline of another one", ErrDamaged)
	}
	return head, outline, err
}

// AddSummary adds what a summary counted. Lines of series that have no row there have none here.
func (t *Tally) AddSummary(s *Summary) {
	for t.step < s.Step {
		t.coarsen()
	}
	for i := range s.Series {
		r := &s.Series[i]
		t.addRow(t.row(Series{string(r.Host), string(r.Source)}), r)
	}
	t.addRow(&t.other, &s.Other)
	t.now = &t.other
}

func (t *Tally) addRow(to *row, r *Row) {
	r.Each(func(minute int64, lines uint64) { t.add(to, minute, lines) })
}

// validStep reports whether cells may have so many minutes: a power of two, or an hour times one.
func validStep(step int64) bool {
	if step%hour == 0 {
		step /= hour
	}
	return step > 0 && bits.OnesCount64(uint64(step)) == 1
}
