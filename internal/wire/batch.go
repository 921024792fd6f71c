// Package wire holds what agent and collector say to each other: the batch of
// lines, the one interface that takes a batch over, and the frames that carry
// both over a network.
package wire

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"slices"
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

// StreamKind says how a stream is fed. Together with its owner and its id it
// names the stream, so that two senders, or a reliable and a lossy one, never
// meet in one stream, whatever ids they choose.
type StreamKind uint8

const (
	StreamAgent StreamKind = iota // an agent's, acknowledged: over TCP or NATS
	StreamLossy                   // an agent's datagrams: sent once and never again
	StreamNATS                    // plain messages of a JetStream stream: the collector's own
	StreamKey                     // a request with a key: the collector's own
)

// String is the kind as people read it.
func (k StreamKind) String() string {
	return [...]string{"agent", "lossy", "nats", "key"}[min(k, StreamKey)]
}

// Owned is the id under which the collector keeps the stream of this kind that
// owner calls id: 16 bytes of a SHA-256 over the kind, the owner's length in two
// bytes, big endian, the owner, and the id. An id that another owner has learned
// is of no use to it.
func (id StreamID) Owned(kind StreamKind, owner string) StreamID {
	b := append([]byte{byte(kind), byte(len(owner) >> 8), byte(len(owner))}, owner...)
	sum := sha256.Sum256(append(b, id[:]...))
	return StreamID(sum[:len(id)])
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
	MaxStreams  = 1 << 17   // streams of one agent that an agent takes note of: far more files than one follows
	MaxAbout    = 64        // files that a welcome names
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
	Kind          StreamKind // set by the listener, never sent. Lossy: a forward jump is a counted gap, not an error
	Stream        StreamID   // as its owner, the Agent, calls it; zero = anonymous: cannot be sent again
	Epoch         uint32
	Offset, End   int64 // raw source bytes; End is explicit, never Offset+len(Text)
	Before, After Hash  // tail hashes at Offset and End
	FirstLine     int64 // lossy only: how many lines of the stream came before this batch
	Time          int64 // when the lines were read, in microseconds since 1970 (UTC)

	Input    string // the listener that took it: "tcp", "udp", ...; set there, never sent
	Agent    string // the sender, which owns the stream: from the session
	Address  string // of the peer, without a port; "" where the listener does not see it; set there, never sent
	Host     string // whose lines, where no mark names another: from the session, or the peer's address
	Source   string // what wrote them: from the open, or the listener's configuration; of a stream's data: these lines' own
	Identity []byte // OpOpen: how the agent knows the source again; opaque to the collector
	Reason   string // OpSkip

	Key        *Key        // of a request with a key; set by the listener, never sent
	Extensions []Extension // to remember with the lines; set by the listener, never sent

	Cuts  []Cut  // places inside Text where the keeper may divide the batch; ascending, none at the end
	Marks []Mark // where the labels change inside Text; ascending, the first may be at 0, none at the end
	Text  []byte // lines, each ending in '\n'
}

// Cut is a line end inside a batch's text and the source offset it stands for.
type Cut struct {
	Text  int   // bytes of Text before the cut
	End   int64 // source offset at the cut
	After Hash  // tail hash at End
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
	About       About
	Streams     []StreamState // as an agent has read them
	Listing     Listing       // as a keeper tells them, in place of Streams
}

// Listing is the streams of an agent in pages, so that no greeting holds all of
// them at once.
type Listing struct {
	Count int
	Pages func(size int) iter.Seq[[]StreamState] // of at most size streams; a page is valid until the next
}

// Listed is what w tells of streams, however it holds them.
func (w *Welcome) Listed() Listing {
	if w.Listing.Pages != nil {
		return w.Listing
	}
	return Listing{len(w.Streams), func(size int) iter.Seq[[]StreamState] { return slices.Chunk(w.Streams, size) }}
}

// About says where the log's own files are, so that an agent on the same machine
// does not follow them: each line would come back as another line.
type About struct {
	Boot  string    // boot id of the collector's machine; device and inode numbers say nothing on another one
	Files []LogFile // of the log, the newest first; at most MaxAbout
}

// LogFile is a file of the log. The numbers alone do not prove it: a cloned
// machine has the same. The bytes before Offset do.
type LogFile struct {
	Device, Inode uint64
	Point
}
