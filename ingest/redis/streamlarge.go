package redis

import (
	"encoding/binary"
	"encoding/hex"

	"fanin/internal/wire"
)

// Ids that do not fit into a witness, such as those that begin with nanoseconds, are remembered
// beside it, as an extension of the latest batch: 8 bytes each, big endian, of both parts. The
// witness is then that of the last id before it that fits.

// largeID is the extension with the id of the latest entry in a block.
func (s *streamReader) largeID(b *block) wire.Extension {
	id := s.sequence.ID()
	value := binary.BigEndian.AppendUint64(nil, b.last.ms)
	return wire.Extension{Kind: wire.ExtensionRedisStream, Name: hex.EncodeToString(id[:]),
		Value: binary.BigEndian.AppendUint64(value, b.last.seq)}
}

// latest is the id of the latest entry in the log.
func (s *streamReader) latest() streamID {
	w := s.sequence.Witness()
	latest := idOf(w)
	id := s.sequence.ID()
	remembered := []streamID{s.large}
	if s.n.Remembered != nil {
		value := s.n.Remembered(wire.ExtensionRedisStream)[hex.EncodeToString(id[:])]
		if len(value) == 16 {
			large := streamID{binary.BigEndian.Uint64(value), binary.BigEndian.Uint64(value[8:])}
			remembered = append(remembered, large)
		}
	}
	for _, id := range remembered {
		if before, _ := id.witness(); before == w && id.compare(latest) > 0 {
			latest = id
		}
	}
	return latest
}

// fits reports whether a witness is that of an id, and not that of the last one before an id
// that does not fit.
func (id streamID) fits() bool {
	_, fits := id.witness()
	_, next := streamID{id.ms, id.seq + 1}.witness()
	return fits && next
}
