package sink

import (
	"encoding/binary"
	"errors"

	"fanin/internal/disk"
	"fanin/internal/wire"
)

// A record describes what was committed of one chunk of a batch. Frames carry records,
// and the ledger is nothing else. Little endian, 80 bytes:
//
//	 0 stream    16 bytes; zero for anonymous lines
//	16 epoch
//	20 lines     how many
//	24 op        as in wire.Op; byte 25 bit 0: the stream is lossy; bit 1: it is a
//	             request with a key; bit 2: and with this record whole
//	28 length    of the laid-out text in bytes
//	32 offset    in the stream, before
//	40 end       in the stream, behind
//	48 after     tail hash at end; of a lossy stream, the number of lines until end
//	56 time      when the lines were read, in microseconds since 1970
//	64 position  of the laid-out text in its generation's file
//	72 sum       CRC32C of the laid-out text
//	76 check     CRC32C of the 76 bytes before
type record struct {
	stream   wire.StreamID
	epoch    uint32
	lines    uint32
	op       wire.Op
	lossy    bool
	key      bool
	whole    bool
	length   uint32
	offset   int64
	end      int64
	after    wire.Hash
	time     int64
	position int64
	sum      uint32
}

const recordSize = 80

const (
	flagLossy = 1 << iota
	flagKey
	flagWhole
)

func (r *record) append(dst []byte) []byte {
	at := len(dst)
	le := binary.LittleEndian
	dst = append(dst, r.stream[:]...)
	dst = le.AppendUint32(dst, r.epoch)
	dst = le.AppendUint32(dst, r.lines)
	var flags byte
	if r.lossy {
		flags |= flagLossy
	}
	if r.key {
		flags |= flagKey
	}
	if r.whole {
		flags |= flagWhole
	}
	dst = append(dst, byte(r.op), flags, 0, 0)
	dst = le.AppendUint32(dst, r.length)
	dst = le.AppendUint64(dst, uint64(r.offset))
	dst = le.AppendUint64(dst, uint64(r.end))
	dst = le.AppendUint64(dst, uint64(r.after))
	dst = le.AppendUint64(dst, uint64(r.time))
	dst = le.AppendUint64(dst, uint64(r.position))
	dst = le.AppendUint32(dst, r.sum)
	return le.AppendUint32(dst, disk.Checksum(dst[at:]))
}

var errRecord = errors.New("a damaged record")

func (r *record) parse(b []byte) error {
	le := binary.LittleEndian
	if len(b) < recordSize || disk.Checksum(b[:76]) != le.Uint32(b[76:]) {
		return errRecord
	}
	copy(r.stream[:], b)
	r.epoch, r.lines = le.Uint32(b[16:]), le.Uint32(b[20:])
	r.op, r.lossy = wire.Op(b[24]), b[25]&flagLossy != 0
	r.key, r.whole = b[25]&flagKey != 0, b[25]&flagWhole != 0
	r.length = le.Uint32(b[28:])
	r.offset, r.end = int64(le.Uint64(b[32:])), int64(le.Uint64(b[40:]))
	r.after, r.time = wire.Hash(le.Uint64(b[48:])), int64(le.Uint64(b[56:]))
	r.position, r.sum = int64(le.Uint64(b[64:])), le.Uint32(b[72:])
	return nil
}
