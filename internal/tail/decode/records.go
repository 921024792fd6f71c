package decode

import "fanin/internal/wire"

// writing lays the records of a joining out as the text of a batch.
type writing struct {
	*joining
	out     Lines
	labels  []wire.Mark // of the lines, those ahead
	record  int         // the next one
	divided int         // of those so far
	unfit   int         // lines of those so far

	cut   Place // the last cut
	lines int   // behind it
	place settled
}

// settled is what there is up to a place.
type settled struct {
	Place
	lines          int // behind the place before it
	marks, divided int
	unfit          int
}

// write yields the records up to a line that ends at a place, with the cuts that it needs.
// It yields fewer where a batch would have too much text between two places, and reports
// false where that is so from the start.
func (j *joining) write(end int) (out Lines, ok bool) {
	w := writing{joining: j, labels: j.got.Marks, out: Lines{Text: j.room[:0]}}
	for _, r := range j.records {
		w.out.Joined = w.out.Joined || r.lines > 1 && r.first <= end
	}
	for i := range j.places {
		if i > end || !w.extend(i) {
			break
		}
	}
	w.out.Text, w.out.Marks = w.out.Text[:w.place.Text], w.out.Marks[:w.place.marks]
	w.out.Raw, w.out.Divided, w.out.Unfit = w.place.Raw, w.place.divided, w.place.unfit
	return w.out, w.place.Raw > 0
}

// extend writes the records up to line i, behind which is a place. It returns false where
// they are too much for the batch.
func (w *writing) extend(i int) bool {
	lines := 0
	for ; w.record < len(w.records) && w.records[w.record].first <= i; w.record++ {
		r := &w.records[w.record]
		if w.out.Joined && r.bytes > w.maxLine+len("\r\n") {
			return false // only as it is
		}
		w.append(r)
		lines++
	}
	p := settled{Place{len(w.out.Text), w.got.Each[i].Raw}, lines, len(w.out.Marks), w.divided, w.unfit}
	if w.tooLarge(w.place.Place, p.Place, lines) || p.Text > len(w.room) && w.place.Raw > 0 {
		return false
	}
	w.lines += lines
	if w.tooLarge(w.cut, p.Place, w.lines) {
		w.out.Cuts = append(w.out.Cuts, w.place.Place)
		w.cut, w.lines = w.place.Place, lines
	}
	w.place = p
	return true
}

// tooLarge reports whether there is too much for one chunk between two places.
func (w *writing) tooLarge(from, to Place, lines int) bool {
	most := min(wire.MaxCutText, len(w.room))
	return lines > wire.MaxCutLines || lines > 1 && to.Text-from.Text > most
}

// append writes a record as one line, with the labels of its first line.
func (w *writing) append(r *record) {
	begins := 0
	if r.first > 0 {
		begins = w.got.Each[r.first-1].Text
	}
	changed := -1
	for changed+1 < len(w.labels) && w.labels[changed+1].Text <= begins {
		changed++
	}
	if changed >= 0 {
		w.out.Marks = append(w.out.Marks, wire.Mark{Text: len(w.out.Text), Labels: w.labels[changed].Labels})
		w.labels = w.labels[changed+1:]
	}
	for i := r.first; ; i = int(w.next[i]) {
		begins = 0
		if i > 0 {
			begins = w.got.Each[i-1].Text
		}
		line := w.got.Text[begins:w.got.Each[i].Text]
		if w.got.Each[i].Unfit {
			w.unfit++
		}
		switch {
		case !w.out.Joined:
			w.out.Text = append(w.out.Text, line...)
		case i == r.last:
			w.out.Text = append(wire.AppendRecord(w.out.Text, line[:len(line)-1]), '\n')
		default:
			w.out.Text = wire.AppendRecord(w.out.Text, withoutEnd(line))
			w.out.Text = wire.AppendRecord(w.out.Text, []byte{'\n'})
		}
		if i == r.last {
			break
		}
	}
	if r.divided {
		w.divided++
	}
}
