package sink

import (
	"encoding/binary"
	"errors"
	"fmt"

	"fanin/internal/disk"
	"fanin/internal/wire"
)

// A frame is one group commit in the write-ahead log. It begins on a block
// boundary; all numbers are little endian.
//
//	 0 magic      "fWL2"; "fWAL" of version 1, whose names were shorter
//	 4 sum        CRC32C of everything from byte 8 to where the text begins
//	 8 epoch      of the write-ahead log: random, new at each start, so that no older frame counts
//	16 lsn        counts frames up by one, across all epochs
//	24 durable    the highest lsn known to be on the disk when this frame was written
//	32 generation of the file the text belongs to
//	40 position   of the text in that file
//	48 text       length of the text in bytes
//	52 records    how many
//	56 names      length of the names in bytes
//	60 extension  length of the extension in bytes
//	64 records, names, extension, text
//
// The extension is what the frame remembers beside its records, see extension.go.
//
// The text has no sum of its own: each record carries that of its part, and the
// records are under the frame's. The same records, as they are, are the ledger.
const (
	frameMagic   = 0x324c5766
	frameMagicV1 = 0x4c415766
	frameHeader  = 64
	blockSize    = 4096
)

type frame struct {
	walEpoch, lsn, durable uint64
	generation             uint64
	position               int64
	records                []record
	names                  []names // of the open records, in their order
	extensions             []extension
	text                   []byte
}

// appendHead appends all of the frame but its text.
func (f *frame) appendHead(dst []byte) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, frameHeader)...)
	for i := range f.records {
		dst = f.records[i].append(dst)
	}
	namesAt := len(dst)
	for i := range f.names {
		dst = f.names[i].append(dst)
	}
	extensionAt := len(dst)
	for i := range f.extensions {
		dst = f.extensions[i].append(dst)
	}
	h := dst[at:]
	le := binary.LittleEndian
	le.PutUint32(h[0:], frameMagic)
	le.PutUint64(h[8:], f.walEpoch)
	le.PutUint64(h[16:], f.lsn)
	le.PutUint64(h[24:], f.durable)
	le.PutUint64(h[32:], f.generation)
	le.PutUint64(h[40:], uint64(f.position))
	le.PutUint32(h[48:], uint32(len(f.text)))
	le.PutUint32(h[52:], uint32(len(f.records)))
	le.PutUint32(h[56:], uint32(extensionAt-namesAt))
	le.PutUint32(h[60:], uint32(len(dst)-extensionAt))
	le.PutUint32(h[4:], disk.Checksum(h[8:]))
	return dst
}

// errFrame is wrapped by the errors for bytes that are not a whole frame.
var errFrame = errors.New("not a whole frame")

// errNewerRelease is the error when a frame is whole, and more than this release can
// read. It is not torn: what it holds was acknowledged.
var errNewerRelease = errors.New("a later release wrote it; only that release or a later one can open this log")

// parseFrame reads the frame that b begins with and returns its length. The
// frame's text is part of b.
func parseFrame(b []byte) (*frame, int, error) {
	f, names, size, err := parseHeader(b)
	if err != nil {
		return nil, 0, err
	}
	le := binary.LittleEndian
	head := size - len(f.text)
	extensionAt := head - int(le.Uint32(b[60:]))
	if f.extensions, err = parseExtensions(b[extensionAt:head]); err != nil {
		return f, size, err
	}
	records := le.Uint32(b[52:])
	f.records = make([]record, records)
	text := f.text
	for i := range f.records {
		r := &f.records[i]
		if err := r.parse(b[frameHeader+i*recordSize:]); err != nil {
			return nil, 0, fmt.Errorf("%w: record %d: %v", errFrame, i, err)
		}
		if int64(r.length) > int64(len(text)) || disk.Checksum(text[:r.length]) != r.sum {
			return nil, 0, fmt.Errorf("%w: the text of record %d is damaged", errFrame, i)
		}
		text = text[r.length:]
	}
	if len(text) > 0 {
		return nil, 0, fmt.Errorf("%w: %d bytes of text in no record", errFrame, len(text))
	}
	return f, size, f.parseNames(b[extensionAt-names:extensionAt], le.Uint32(b) == frameMagicV1)
}

// parseHeader checks the head's sum and the lengths before anything in it is
// believed; it returns the length of the names and of the whole frame.
func parseHeader(b []byte) (f *frame, names, size int, err error) {
	le := binary.LittleEndian
	if len(b) < frameHeader || !isFrame(b) {
		return nil, 0, 0, fmt.Errorf("%w: no frame begins here", errFrame)
	}
	text, records, n := int64(le.Uint32(b[48:])), int64(le.Uint32(b[52:])), int64(le.Uint32(b[56:]))
	head := frameHeader + records*recordSize + n + int64(le.Uint32(b[60:]))
	if head+text > int64(len(b)) {
		return nil, 0, 0, fmt.Errorf("%w: it claims %d bytes, %d are there", errFrame, head+text, len(b))
	}
	if disk.Checksum(b[8:head]) != le.Uint32(b[4:]) {
		return nil, 0, 0, fmt.Errorf("%w: its head is damaged", errFrame)
	}
	return &frame{
		walEpoch: le.Uint64(b[8:]), lsn: le.Uint64(b[16:]), durable: le.Uint64(b[24:]),
		generation: le.Uint64(b[32:]), position: int64(le.Uint64(b[40:])),
		text: b[head : head+text],
	}, int(n), int(head + text), nil
}

func (f *frame) parseNames(b []byte, v1 bool) error {
	for i := range f.records {
		if f.records[i].op != wire.OpOpen {
			continue
		}
		var n names
		rest, err := n.parse(b, v1)
		if err != nil {
			return fmt.Errorf("%w: %v", errFrame, err)
		}
		f.names, b = append(f.names, n), rest
	}
	if len(b) > 0 {
		return fmt.Errorf("%w: %d bytes of names too many", errFrame, len(b))
	}
	return nil
}

func isFrame(b []byte) bool {
	magic := binary.LittleEndian.Uint32(b)
	return magic == frameMagic || magic == frameMagicV1
}

// frameMarks is what a frame's first bytes claim of its epoch, and of what was durable before it; of
// other bytes, nothing.
func frameMarks(head []byte) (epoch, durable uint64) {
	if !isFrame(head) {
		return 0, 0
	}
	return binary.LittleEndian.Uint64(head[8:]), binary.LittleEndian.Uint64(head[24:])
}

// frameSize is the length that a frame's first bytes claim, 0 where none begins.
func frameSize(head []byte) int64 {
	le := binary.LittleEndian
	if !isFrame(head) {
		return 0
	}
	records, names := int64(le.Uint32(head[52:])), int64(le.Uint32(head[56:]))
	extension, text := int64(le.Uint32(head[60:])), int64(le.Uint32(head[48:]))
	return frameHeader + records*recordSize + names + extension + text
}
