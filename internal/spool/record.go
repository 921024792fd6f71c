package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"

	"fanin/internal/disk"
	"fanin/internal/lines"
	"fanin/internal/wire"
)

// record is what arrived of one sender at one moment: whole lines, each ending in '\n'; or
// a gap, in place of segments that were dropped. Numbers are little endian:
//
//	 0  4  CRC-32C of the rest of the record; it begins with that of the stream's id, XOR both halves of
//	       the record's offset in the segment
//	 4  4  bytes of text, at most maxText
//	 8  8  when it arrived, in microseconds since 1970
//	16  2  lines in the text
//	18  1  kind: 0 lines, 1 gap, 2 one line with several inside, see wire.AppendRecord, 3 the end of the
//	       segment; and 128 in the first record of a block, before which all was synced
//	19  1  bytes of the source
//	20     source · text
//
// No part of a line is a record: lines are divided before. So one that is damaged loses
// itself and nothing else, and the checksum, which covers its place, finds the next one.
type record struct {
	kind   byte
	first  bool // of a block
	time   int64
	lines  int
	source []byte // empty: the spool's own
	text   []byte
	size   int // of the record
}

const (
	kindLines = iota
	kindGap
	kindJoined
	kindEnd
	kinds

	flagFirst = 0x80

	recordHead = 20
	runBytes   = readSize + 4<<10 // of the lines in a record, unless it is one line: what is read at a time
	maxText    = wire.MaxLine     // of a record
	maxRecord  = recordHead + wire.MaxName + maxText
)

// Of bytes that are no whole record.
var (
	errShort   = errors.New("the record has more bytes")
	errDamaged = errors.New("no record: the checksum does not match")
)

// textAt is where in the record its text begins.
func (r *record) textAt() int { return recordHead + len(r.source) }

// append appends a record whose checksum is not set.
func (r *record) append(dst []byte) []byte {
	var head [recordHead]byte
	binary.LittleEndian.PutUint32(head[4:], uint32(len(r.text)))
	binary.LittleEndian.PutUint64(head[8:], uint64(r.time))
	binary.LittleEndian.PutUint16(head[16:], uint16(r.lines))
	head[18], head[19] = r.kind, byte(len(r.source))
	dst = append(dst, head[:]...)
	return append(append(dst, r.source...), r.text...)
}

// sizeOf returns the size of the record that b begins with, as its head has it; 0 if no
// record has such a head.
func sizeOf(b []byte) int {
	text, kind := binary.LittleEndian.Uint32(b[4:]), b[18]&^flagFirst
	if text == 0 || text > maxText || kind >= kinds || b[15] != 0 {
		return 0
	}
	return recordHead + int(b[19]) + int(text)
}

// sum returns the checksum of a whole record at an offset of a stream.
func sum(stream *wire.StreamID, offset int64, whole []byte) uint32 {
	return disk.UpdateChecksum(disk.Checksum(stream[:])^uint32(offset)^uint32(offset>>32), whole[4:])
}

// setSums sets the checksums of whole records, the first of which has this offset.
func setSums(stream *wire.StreamID, offset int64, b []byte) {
	for len(b) > 0 {
		n := sizeOf(b)
		binary.LittleEndian.PutUint32(b, sum(stream, offset, b[:n]))
		b, offset = b[n:], offset+int64(n)
	}
}

// readRecord reads the record that b begins with, without its checksum. The error is errShort if
// b ends before the record; size is then how many bytes it has, or its head.
func readRecord(b []byte) (r record, err error) {
	if len(b) < recordHead {
		return record{size: recordHead}, errShort
	}
	switch r.size = sizeOf(b); {
	case r.size == 0:
		return record{}, errDamaged
	case r.size > len(b):
		return r, errShort
	}
	b = b[:r.size]
	r.kind, r.first, r.time = b[18]&^flagFirst, b[18]&flagFirst != 0, int64(binary.LittleEndian.Uint64(b[8:]))
	r.lines = int(binary.LittleEndian.Uint16(b[16:]))
	r.source = b[recordHead:][:b[19]]
	r.text = b[r.textAt():]
	if r.kind == kindGap && len(r.text) != gapSize || r.kind != kindGap && r.text[len(r.text)-1] != '\n' {
		return record{}, errDamaged
	}
	return r, nil
}

// parseRecord reads the record that b begins with, which has this offset, as readRecord does.
func parseRecord(stream *wire.StreamID, offset int64, b []byte) (record, error) {
	r, err := readRecord(b)
	if err == nil && binary.LittleEndian.Uint32(b) != sum(stream, offset, b[:r.size]) {
		return record{}, errDamaged
	}
	return r, err
}

func (r *record) arrived() time.Time { return time.UnixMicro(r.time) }

// runLength returns how many bytes of text, whole lines, go into the next record.
func runLength(text []byte) int {
	if len(text) > runBytes {
		end := bytes.LastIndexByte(text[:runBytes], '\n') + 1
		if end == 0 {
			return bytes.IndexByte(text, '\n') + 1 // one line
		}
		text = text[:end]
	}
	return lines.ChunkLength(text)
}

// endSize is the size of the record that ends a segment. It is written when all before it was
// synced, and is not synced itself: where it is, the rest is no torn end.
const endSize = recordHead + 1

func endRecord(stream *wire.StreamID, offset int64) []byte {
	r := record{kind: kindEnd, text: []byte{'\n'}}
	b := r.append(nil)
	b[18] |= flagFirst
	setSums(stream, offset, b)
	return b
}

// gap is the text of a record in place of segments that were dropped:
//
//	 0  8  number of the first of them; the last one is that of the record's own segment
//	 8  8  lines in them
//	16  8  bytes of records in them
//	24
type gap struct {
	first        uint64
	lines, bytes int64
}

const gapSize = 24

func (g *gap) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, g.first)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(g.lines))
	return binary.LittleEndian.AppendUint64(dst, uint64(g.bytes))
}

func parseGap(b []byte) gap {
	return gap{binary.LittleEndian.Uint64(b), int64(binary.LittleEndian.Uint64(b[8:])),
		int64(binary.LittleEndian.Uint64(b[16:]))}
}
