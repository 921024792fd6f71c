package wire

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// StreamID names one ordered source of lines. It is random, assigned by the agent when
// it first finds the source, and never reused for other bytes. The zero id means "no
// stream": the lines cannot be sent again.
type StreamID [16]byte

// NewStreamID returns a random id.
func NewStreamID() StreamID {
	var id StreamID
	rand.Read(id[:]) // never fails, see crypto/rand
	return id
}

// IsZero reports whether id names no stream.
func (id StreamID) IsZero() bool { return id == StreamID{} }

// String is the id in 32 hexadecimal digits.
func (id StreamID) String() string { return hex.EncodeToString(id[:]) }

// ParseStreamID parses the result of String.
func ParseStreamID(s string) (StreamID, error) {
	var id StreamID
	if b, err := hex.DecodeString(s); err != nil || copy(id[:], b) != len(id) || len(b) != len(id) {
		return StreamID{}, fmt.Errorf("stream id %q: want 32 hexadecimal digits", s)
	}
	return id, nil
}

// StreamKind is the way in which a stream is sent. The kind, the owner and the id
// together name a stream, so two senders, or a reliable and a lossy one, never share a
// stream, whatever ids they choose.
type StreamKind uint8

// The kinds of streams.
const (
	StreamAgent StreamKind = iota // an agent's, acknowledged: over TCP or NATS
	StreamLossy                   // an agent's datagrams: sent once and never again
	StreamNATS                    // plain messages of a JetStream stream: the collector's own
	StreamKey                     // a request with a key: the collector's own
	StreamRedis                   // entries of a Redis stream: the collector's own
)

// String is the kind's name.
func (k StreamKind) String() string {
	return [...]string{"agent", "lossy", "nats", "key", "redis"}[min(k, StreamRedis)]
}

// Owned is the id under which the collector keeps the stream of this kind that
// owner calls id: 16 bytes of a SHA-256 over the kind, the owner's length in two
// bytes, big endian, the owner, and the id. A sender that learns another owner's id
// cannot use it.
func (id StreamID) Owned(kind StreamKind, owner string) StreamID {
	var space [3 + MaxName + len(id)]byte // each batch comes here
	b := append(space[:0], byte(kind), byte(len(owner)>>8), byte(len(owner)))
	sum := sha256.Sum256(append(append(b, owner...), id[:]...))
	return StreamID(sum[:len(id)])
}

// Point is a position in a stream that can be recognised again.
type Point struct {
	Offset int64
	Tail   Hash
}

// Watermark is the position up to which a stream is committed.
type Watermark struct {
	Epoch uint32
	Point
	Trail []Point // a few earlier points of this epoch, ascending
}

// StreamState is a stream as the collector knows it: an agent that lost its
// own state resumes from this.
type StreamState struct {
	Stream   StreamID
	Source   string
	Identity []byte
	Watermark
}
