package sink

import (
	"fanin/internal/wire"
)

// tomb is what is left of a lossy stream that expired: enough to count, should
// it return, what came twice and what never came.
type tomb struct {
	id     wire.StreamID
	epoch  uint32
	offset int64
	lines  int64
	dirty  bool
}

// tombs are bounded: the oldest goes first.
type tombs struct {
	byID  map[wire.StreamID]*tomb
	order []*tomb
	dirty []*tomb
}

const maxTombs = 16 << 10

func newTombs() tombs { return tombs{byID: make(map[wire.StreamID]*tomb)} }

// remember keeps a tomb of a lossy stream whose end has its number of lines; 0: none.
func (t *tombs) remember(st *stream, r *record) {
	if r.lossy && r.after > 0 {
		t.add(&tomb{id: st.id, epoch: r.epoch, offset: r.end, lines: int64(r.after)})
	}
}

func (t *tombs) add(x *tomb) {
	t.remove(x.id)
	t.byID[x.id] = x
	t.order = append(t.order, x)
	t.touch(x)
	for len(t.byID) > maxTombs {
		oldest := t.order[0]
		t.order = t.order[1:]
		if t.byID[oldest.id] == oldest {
			delete(t.byID, oldest.id)
			t.touch(oldest)
		}
	}
}

func (t *tombs) remove(id wire.StreamID) {
	if x := t.byID[id]; x != nil {
		delete(t.byID, id)
		t.touch(x)
	}
	if len(t.order) > 2*maxTombs {
		kept := t.order[:0]
		for _, x := range t.order {
			if t.byID[x.id] == x {
				kept = append(kept, x)
			}
		}
		clear(t.order[len(kept):])
		t.order = kept
	}
}

// clean marks all as saved: the catalog log has them.
func (t *tombs) clean() {
	for _, x := range t.dirty {
		x.dirty = false
	}
	t.dirty = nil
}

func (t *tombs) touch(x *tomb) {
	if !x.dirty {
		x.dirty = true
		t.dirty = append(t.dirty, x)
	}
}
