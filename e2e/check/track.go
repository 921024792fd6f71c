package check

// track is what was found of one source: a bit for each of its lines, so that a
// check takes time and memory in proportion to the lines.
type track struct {
	bits []uint64
	next int // the line that the source goes on with

	again int // of a request that began again: the line that comes next once more; 0: it did not
}

func (t *track) has(seq int) bool {
	return t != nil && seq/64 < len(t.bits) && t.bits[seq/64]&(1<<(seq%64)) != 0
}

func (t *track) set(seq int) {
	for seq/64 >= len(t.bits) {
		t.bits = append(t.bits, 0)
	}
	t.bits[seq/64] |= 1 << (seq % 64)
}

// tracks are all sources. Lines come in runs, so the last source is remembered.
type tracks struct {
	all  map[int]*track
	last *track
	src  int
}

func (ts *tracks) of(src int) *track {
	if ts.last != nil && ts.src == src {
		return ts.last
	}
	t := ts.all[src]
	if t == nil {
		if ts.all == nil {
			ts.all = make(map[int]*track)
		}
		t = new(track)
		ts.all[src] = t
	}
	ts.last, ts.src = t, src
	return t
}
