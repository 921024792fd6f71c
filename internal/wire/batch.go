// Package wire holds what agent and collector say to each other: the batch of
// lines, the one interface that takes a batch over, and the frames that carry
// both over a network.
package wire

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
)

// StreamID names one ordered source of lines. It is random, minted by the
// agent when the source is first met, and never names other bytes. The zero
// id means "no stream": the lines cannot be sent again.
type StreamID [16]byte

// NewStreamID mints a random id.
func NewStreamID() StreamID {
	var id StreamID
	rand.Read(id[:]) // never fails, see crypto/rand
	return id
}

// IsZero reports whether id names no stream.
func (id StreamID) IsZero() bool { return id == StreamID{} }

// String is the id in 32 hexadecimal digits.
func (id StreamID) String() string { return hex.EncodeToString(id[:]) }

// ParseStreamID reads what String wrote.
func ParseStreamID(s string) (StreamID, error) {
	var id StreamID
	if b, err := hex.DecodeString(s); err != nil || copy(id[:], b) != len(id) || len(b) != len(id) {
		return StreamID{}, fmt.Errorf("stream id %q: want 32 hexadecimal digits", s)
	}
	return id, nil
}

// Op is what a batch asks for. Only OpData carries text.
type Op uint8

const (
	OpData Op = iota // take these lines
	OpOpen           // begin the stream, or a new epoch of it, at Offset
	OpSkip           // the bytes from Offset to End will never come: Reason says why
	OpEnd            // the source is gone and drained at Offset: forget the stream
)

// Limits that both sides keep. A batch beyond them is refused, not cut.
const (
	MaxText     = 4 << 20   // bytes of text in a batch
	MaxLine     = 1 << 20   // bytes of a line, its newline included; longer ones are split, see SplitMark
	MaxCutText  = 256 << 10 // bytes of text between two cuts, unless it is one line
	MaxCutLines = 4 << 10   // lines between two cuts: they may all be empty, and each grows a prefix
	MaxName     = 255       // bytes of an agent id, a host, a source, a reason
	MaxIdentity = 512       // bytes of a source's identity
	MaxTrail    = 8         // points of a trail
)

// A line longer than allowed is cut into pieces: all but the last end in
// SplitMark, all but the first begin with SplitGoesOn. Nothing is dropped.
const (
	SplitMark   = " [fanin: line goes on]"
	SplitGoesOn = "[fanin: line went on] "
)

// Batch is a run of whole lines of one stream: the unit of sending, committing
// and acknowledging.
type Batch struct {
	Op            Op
	Lossy         bool     // sent once and never again: a forward jump is a counted gap, not an error
	Stream        StreamID // zero = anonymous: cannot be sent again
	Epoch         uint32
	Offset, End   int64 // raw source bytes; End is explicit, never Offset+len(Text)
	Before, After Hash  // tail hashes at Offset and End
	FirstLine     int64 // lossy only: how many lines of the stream came before this batch
	Time          int64 // when the lines were read, in microseconds since 1970 (UTC)

	Input    string // the listener that took it: "tcp", "udp", ...; set there, never sent
	Agent    string // who sends: from the session
	Host     string // whose lines: from the session, or the peer's address
	Source   string // what wrote them: from the open, or the listener's configuration; of a stream's data: these lines' own
	Identity []byte // OpOpen: how the agent knows the source again; opaque to the collector
	Reason   string // OpSkip

	Cuts []Cut  // places inside Text where the keeper may divide the batch; ascending, none at the end
	Text []byte // lines, each ending in '\n'
}

// Cut is a line end inside a batch's text and the source offset it stands for.
type Cut struct {
	Text   int    // bytes of Text before the cut
	End    int64  // source offset at the cut
	After  Hash   // tail hash at End
	Source string // what wrote the lines behind the cut, if others than those before; never sent
}

// Point is a place in a stream that can be recognised again.
type Point struct {
	Offset int64
	Tail   Hash
}

// Watermark says how far the keeper has committed a stream.
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

// Welcome is what the keeper tells an agent that connects. The log id names
// the log; the incarnation changes when the log's state was lost or is older
// than its file, and only then is an agent's own mark believed before a watermark.
type Welcome struct {
	Log         StreamID
	Incarnation StreamID
	Streams     []StreamState
	MaxText     int // how much text of a batch the way there takes; 0: MaxText. Never sent
}
