package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"fanin/internal/disk"
	"fanin/internal/wire"
)

// header is what a segment begins with, twice, so that one damaged byte hides no segment.
// Numbers are little endian:
//
//	  0  8   "faninsp1"
//	  8  4   CRC-32C of the rest of the header
//	 12  1   length of the agent's id
//	 13  3   zero
//	 16  16  id of the stream, random
//	 32  16  id of the spool, random
//	 48  8   number of the segment
//	 56  200 the agent's id, and zeros
//	256
type header struct {
	stream, spool wire.StreamID
	number        uint64
	agent         string
}

const (
	magic      = "faninsp1"
	headerSize = 256
	maxAgent   = 200
	firstByte  = 2 * headerSize // where the records begin
)

var errHeader = errors.New("neither header of the segment is whole")

// append appends both copies.
func (h *header) append(dst []byte) []byte {
	b := make([]byte, headerSize)
	copy(b, magic)
	b[12] = byte(len(h.agent))
	copy(b[16:], h.stream[:])
	copy(b[32:], h.spool[:])
	binary.LittleEndian.PutUint64(b[48:], h.number)
	copy(b[56:], h.agent)
	binary.LittleEndian.PutUint32(b[8:], disk.Checksum(b[12:]))
	return append(append(dst, b...), b...)
}

// parseHeader reads the header that the bytes of a segment begin with.
func parseHeader(b []byte) (h header, err error) {
	for ; len(b) >= headerSize; b = b[headerSize:] {
		one := b[:headerSize]
		if string(one[:8]) == magic && binary.LittleEndian.Uint32(one[8:]) == disk.Checksum(one[12:]) {
			copy(h.stream[:], one[16:])
			copy(h.spool[:], one[32:])
			h.number = binary.LittleEndian.Uint64(one[48:])
			h.agent = string(one[56:][:min(int(one[12]), maxAgent)])
			return h, nil
		}
	}
	return h, errHeader
}

// An identity is how the collector remembers a segment, see wire.Batch.Identity:
//
//	0 3 · id of the spool, 16 bytes · number of the segment, 8 bytes
const (
	identityKind = 3
	identitySize = 1 + 16 + 8
)

func (h *header) identity() []byte {
	b := append([]byte{identityKind}, h.spool[:]...)
	return binary.LittleEndian.AppendUint64(b, h.number)
}

// IsSegment reports whether a stream with this identity is a segment of a spool.
func IsSegment(identity []byte) bool {
	return len(identity) == identitySize && identity[0] == identityKind
}

// isOf reports whether an identity is that of a segment of this spool.
func isOf(identity []byte, spool wire.StreamID) bool {
	return IsSegment(identity) && bytes.Equal(identity[1:17], spool[:])
}

const suffix = ".seg"

// name returns the name of a segment's file.
func name(number uint64) string { return fmt.Sprintf("%020d%s", number, suffix) }
