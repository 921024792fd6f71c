package syslog

import "hash/maphash"

// names keeps names that lines had lately, so that those of the next lines cost no memory. It is
// a table in which a name can be at one place only, and takes it from the one that is there.
// It grows while names take places from one another, and begins anew when its names have
// more bytes than they may.
type names struct {
	most  int // bytes of names
	clean func(raw string) string

	seed  maphash.Seed
	slots []name
	bytes int // of the names
	lost  int // names that lost their places since the table grew
}

// name is a name as senders write it, and as the log can have it.
type name struct{ raw, clean string }

const (
	firstSlots   = 16
	mostSlots    = 16 << 10
	nameOverhead = 32   // bytes of a slot
	longestKept  = 1024 // bytes; longer ones are not worth a place
)

func newNames(most int, clean func(string) string) names {
	return names{most: most, clean: clean, seed: maphash.MakeSeed()}
}

// get is the name as the log can have it, and whether that is the name as it is.
func (n *names) get(raw []byte) (clean string, same bool) {
	if n.slots == nil {
		n.slots = make([]name, firstSlots)
	}
	slot := &n.slots[maphash.Bytes(n.seed, raw)&uint64(len(n.slots)-1)]
	if slot.raw == string(raw) {
		return slot.clean, slot.clean == slot.raw
	}
	x := name{raw: string(raw)}
	x.clean = n.clean(x.raw)
	if len(raw) > longestKept {
		return x.clean, x.clean == x.raw
	}
	if slot.raw != "" {
		n.lost++
	}
	n.bytes += len(x.raw) + nameOverhead - len(slot.raw)
	*slot = x
	n.resize()
	return x.clean, x.clean == x.raw
}

// resize makes the table larger if its names are too many for it, or begins anew.
func (n *names) resize() {
	switch {
	case n.bytes > n.most:
		n.slots, n.bytes, n.lost = nil, 0, 0
	case n.lost > 2*len(n.slots) && len(n.slots) < mostSlots:
		old := n.slots
		n.slots, n.lost = make([]name, 4*len(old)), 0
		for _, x := range old {
			n.slots[maphash.String(n.seed, x.raw)&uint64(len(n.slots)-1)] = x
		}
	}
}
