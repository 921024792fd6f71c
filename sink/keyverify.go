package sink

// KeyReport counts the requests with a key.
type KeyReport struct {
	Requests uint64 `json:"requests"` // that begin in the log; one whose key was forgotten may begin again
	Lines    uint64 `json:"lines"`
	Partial  int    `json:"partial"` // not all of their records are committed
}

// placeKey holds a record of a request against those before it. A key may begin
// again: it was forgotten in between. Nothing is remembered of a request that is whole.
func (v *verifier) placeKey(g *generation, r *record) {
	if v.report.Keys == nil {
		v.report.Keys = new(KeyReport)
	}
	v.report.Keys.Lines += uint64(r.lines)
	last, known := v.keys[r.stream]
	switch {
	case r.offset == 0:
		v.report.Keys.Requests++
	case known && r.offset != last:
		v.problem(g.name, "request %s continues with record %d at byte %d; record %d should follow",
			r.stream, r.offset, r.position, last)
	case !known && v.complete():
		v.problem(g.name, "request %s continues with record %d at byte %d, and has no beginning or was complete",
			r.stream, r.offset, r.position)
	}
	if r.whole {
		delete(v.keys, r.stream)
		return
	}
	v.keys[r.stream] = r.end
}

// complete reports whether the log still has its first line, so that every request
// must begin in it.
func (v *verifier) complete() bool {
	for _, g := range v.catalog.generations {
		if g.state == stateLost || g.state == stateRemoved {
			return false
		}
	}
	return v.catalog.generations[0].number == 1
}

// keyMarks holds the table of keys against the log.
func (v *verifier) keyMarks() {
	if v.report.Keys != nil {
		v.report.Keys.Partial = len(v.keys)
	}
	t := &v.catalog.keys
	for id, last := range v.keys {
		if k := t.find(id); k != nil && k.point().Offset != last {
			v.problem("table of keys", "request %s is known up to record %d, the log holds it up to %d",
				id, k.records, last)
		}
	}
}
