package wire

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math"
)

// Key describes the request that a batch of kind StreamKey belongs to. Such a batch needs
// no OpOpen: the one with offset 0 begins the request in its own frame. Offsets are
// record numbers, and a record is one line. The hash at record k is the RecordHash
// of all records before it.
//
// The keeper answers like this, besides what an Appender answers to any batch:
//
//   - *Expected, Known: the request is committed in part. The sender continues at
//     that record, if its own hash there is the same.
//   - *Expected, not Known: the key is not known, and the batch does not begin at 0.
//   - ErrOtherContent: the key is known with other records.
type Key struct {
	Content Hash  // RecordHash of all records of the request
	Hashed  bool  // the key is a hash of the content, because the sender gave none: it is known for a short time only
	Made    int64 // when the sender made the key, in microseconds since 1970; 0: not known

	// The keeper sets these before Append returns nil.
	Repeat       bool // the batch was committed before
	MaybeDoubled bool // the batch began its request, which may have been committed before, and forgotten since
}

// ErrOtherContent is an ErrRefused: the key of a request was used before, for
// other content.
var ErrOtherContent error = &Refused{"the key was used before, with other content"}

// KeyID is the stream that a request with this key is: 16 bytes of a SHA-256 over
// the parts, each behind its length in four bytes, little endian. The first part is
// the kind of key, so that two kinds never meet.
func KeyID(kind string, parts ...[]byte) (id StreamID) {
	b := appendPart(nil, []byte(kind))
	for _, part := range parts {
		b = appendPart(b, part)
	}
	sum := sha256.Sum256(b)
	copy(id[:], sum[:])
	return id
}

func appendPart(b, part []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(part))), part...)
}

// RecordHash is the first 8 bytes, big endian, of a SHA-256. It is never 0, which
// is the hash before the first record.
func RecordHash(sum []byte) Hash {
	return max(1, Hash(binary.BigEndian.Uint64(sum)))
}

func (b *Batch) checkKey() error {
	switch {
	case (b.Kind == StreamKey) != (b.Key != nil):
		return &Refused{"a batch with a key has the kind for it, and no other batch"}
	case b.Kind != StreamKey:
		return nil
	case b.Op != OpData || b.Stream.IsZero() || b.Epoch != 0 || b.End > math.MaxUint32:
		return &Refused{"a request with a key is data of one epoch, and of at most 4294967295 records"}
	case b.Time <= 0:
		return &Refused{"a request with a key has a time: its key is forgotten by age"}
	case (b.Offset == 0) != (b.Before == 0) || b.After == 0 || b.Key.Content == 0:
		return &Refused{"the hash of no records is 0, and no other one is"}
	}
	return nil
}

func countLines(text []byte) int { return bytes.Count(text, []byte{'\n'}) }
