package relay

import (
	"cmp"
	"encoding/binary"
	"slices"

	"fanin/internal/wire"
)

// upstream is what the welcome of the other collector said, and what it has answered since.
type upstream struct {
	log, incarnation wire.StreamID
	way              wire.Way // of a line, from there on
	limit            int      // bytes of text and labels in a batch

	streams map[uint64]wire.Watermark // of this log, by generation
	former  []wire.StreamState        // of another log that had the relay's id: this one, before it lost its state
}

// readUpstream reads a welcome for the relay of a log.
func readUpstream(w *wire.Welcome, limit int, own wire.StreamID) *upstream {
	u := &upstream{log: w.Log, incarnation: w.Incarnation, way: w.About.Way, limit: limit,
		streams: make(map[uint64]wire.Watermark)}
	for _, s := range w.Streams {
		switch log, generation, ok := readIdentity(s.Identity); {
		case ok && log == own:
			u.streams[generation] = s.Watermark
		case ok:
			u.former = append(u.former, s)
		}
	}
	return u
}

// known are the generations that it knows, the latest first; but one of which it has nothing yet is
// behind all others, since nothing proves that it is this log's.
func (u *upstream) known() (all []stream) {
	for generation, mark := range u.streams {
		all = append(all, stream{generation, mark})
	}
	slices.SortFunc(all, func(a, b stream) int {
		switch {
		case a.Offset > 0 && b.Offset == 0:
			return -1
		case a.Offset == 0 && b.Offset > 0:
			return 1
		}
		return cmp.Compare(b.generation, a.generation)
	})
	return all
}

// loops reports whether lines would come back to a log.
func (u *upstream) loops(own wire.StreamID) bool { return slices.Contains(u.way.Logs, own) }

// A generation of a log is a stream of the upstream's. Its identity is
//
//	0   16  log id
//	16  8   generation, big endian
//
// and its id is that of the log, as wire.StreamID.Owned makes it for the generation. Both follow
// from the log, so a relay that has lost what it saved finds its streams again.
const identitySize = 24

func identityOf(log wire.StreamID, generation uint64) []byte {
	return binary.BigEndian.AppendUint64(slices.Clone(log[:]), generation)
}

func readIdentity(b []byte) (log wire.StreamID, generation uint64, ok bool) {
	if len(b) != identitySize {
		return log, 0, false
	}
	return wire.StreamID(b[:16]), binary.BigEndian.Uint64(b[16:]), true
}

func streamOf(log wire.StreamID, generation uint64) wire.StreamID {
	return log.Owned(wire.StreamAgent, string(identityOf(log, generation)))
}
