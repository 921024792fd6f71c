package syslog

import "hash/maphash"

// names keeps names that lines had lately, so that those of the next lines cost no memory. It is
// a table in which a name can be at two places only, next to each other: it takes the first, and
// the one that is there the second. The table grows while names push others out, and begins
// anew when its names have more bytes than they may.
type names struct {
	most  int                                        // bytes of names, and of slots
	clean func(raw string) (clean string, same bool) // as the log can have it; same: it shows all of raw

	seed   maphash.Seed
	slots  []name
	bytes  int // of the names
	pushed int // names that were pushed out since the table grew
}

// name is a name as senders write it, and as the log can have it.
type name struct {
	raw, clean string
	less       bool // clean does not show all of raw
}

const (
	firstSlots  = 16
	slotBytes   = 32
	longestKept = 1024 // bytes of a name
)

func newNames(most int, clean func(string) (string, bool)) names {
	return names{most: most, clean: clean, seed: maphash.MakeSeed()}
}

// get is the name as the log can have it, and whether that shows all of it. Of a name that
// is much longer than any in the log, only the beginning is looked at.
func (n *names) get(raw []byte) (clean string, same bool) {
	if len(raw) > longestKept {
		clean, _ = n.clean(string(raw[:longestKept]))
		return clean, false
	}
	if n.slots == nil {
		n.slots = make([]name, firstSlots)
	}
	at := maphash.Bytes(n.seed, raw) & uint64(len(n.slots)-1)
	x := &n.slots[at]
	if x.raw != string(raw) {
		if x = &n.slots[at^1]; x.raw != string(raw) {
			return n.add(at, raw)
		}
	}
	return x.clean, !x.less
}

// add adds a name at its place.
func (n *names) add(at uint64, raw []byte) (clean string, same bool) {
	x := name{raw: string(raw)}
	clean, same = n.clean(x.raw)
	x.clean, x.less = clean, !same
	n.put(at, x)
	switch {
	case n.bytes > n.most:
		n.slots, n.bytes, n.pushed = nil, 0, 0
	case n.pushed > len(n.slots) && 4*len(n.slots)*slotBytes <= n.most:
		old := n.slots
		n.slots, n.bytes, n.pushed = make([]name, 4*len(old)), 0, 0
		for _, x := range old {
			n.put(maphash.String(n.seed, x.raw)&uint64(len(n.slots)-1), x)
		}
	}
	return clean, same
}

func (n *names) put(at uint64, x name) {
	first, second := &n.slots[at], &n.slots[at^1]
	if second.raw != "" && first.raw != "" {
		n.pushed++
		n.bytes -= second.bytes()
	}
	if first.raw != "" {
		*second = *first
	}
	*first = x
	n.bytes += x.bytes()
}

func (x *name) bytes() int {
	if x.clean == x.raw {
		return len(x.raw)
	}
	return len(x.raw) + len(x.clean)
}
