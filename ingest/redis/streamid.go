package redis

import (
	"bytes"
	"cmp"
	"math"
	"strconv"

	"fanin/internal/sequence"
)

// streamID is the id of an entry: milliseconds since 1970, and a counter, unless a writer
// chose both. 0-0 is before all entries.
type streamID struct{ ms, seq uint64 }

// parseID parses an id as servers write it: "1700000000000-0".
func parseID(b []byte) (id streamID, ok bool) {
	first, second, found := bytes.Cut(b, []byte{'-'})
	ms, ok1 := parseUint(first)
	seq, ok2 := parseUint(second)
	return streamID{ms, seq}, found && ok1 && ok2
}

func parseUint(b []byte) (n uint64, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' || n > math.MaxUint64/10 || n*10 > math.MaxUint64-uint64(c-'0') {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, len(b) > 0
}

// append appends the id as servers write it.
func (id streamID) append(dst []byte) []byte {
	dst = append(strconv.AppendUint(dst, id.ms, 10), '-')
	return strconv.AppendUint(dst, id.seq, 10)
}

// String is the id as servers write it.
func (id streamID) String() string { return string(id.append(nil)) }

// compare is negative if id is before the other one, and 0 if they are the same.
func (id streamID) compare(other streamID) int {
	return cmp.Or(cmp.Compare(id.ms, other.ms), cmp.Compare(id.seq, other.seq))
}

// before is the last id that is smaller.
func (id streamID) before() streamID {
	switch {
	case id.seq > 0:
		return streamID{id.ms, id.seq - 1}
	case id.ms > 0:
		return streamID{id.ms - 1, math.MaxUint64}
	}
	return id
}

// next is the first id that is larger.
func (id streamID) next() streamID {
	if id.seq == math.MaxUint64 {
		return streamID{id.ms + 1, 0}
	}
	return streamID{id.ms, id.seq + 1}
}

// witness is the id as the log stores it. Only if ok is it this id, and no other one.
func (id streamID) witness() (w sequence.Witness, ok bool) { return sequence.Pair(id.ms, id.seq) }

// idOf is the id that a witness stands for.
func idOf(w sequence.Witness) (id streamID) {
	id.ms, id.seq = w.Split()
	return id
}

// clocked reports whether a server's clock made the id, as far as it shows. Other writers count
// from small numbers.
func (id streamID) clocked() bool { return id.ms>>32 != 0 }
