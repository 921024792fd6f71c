// Package wire defines what agent and collector exchange: the batch of lines, the one
// interface that accepts a batch, and the frames that carry both over a network.
package wire

// Op is the operation of a batch. Only OpData carries text.
type Op uint8

// The operations.
const (
	OpData Op = iota // append these lines
	OpOpen           // begin the stream, or a new epoch of it, at Offset
	OpSkip           // the bytes from Offset to End will never be sent; Reason says why
	OpEnd            // the source is deleted and read up to Offset: forget the stream
)

// SkipContinued is the reason of an OpSkip that leaves nothing out: the end of a file that
// was rotated inside a line was sent with the next file.
const SkipContinued = "continued in the next file"

// Limits of both sides. A batch that exceeds one is refused, not cut.
const (
	MaxText     = 4 << 20   // bytes of text in a batch, with what its marks take
	MaxLine     = 1 << 20   // bytes of a line, its newline included; longer ones are split, see SplitMark
	MaxCutText  = 256 << 10 // bytes between two cuts, of lines and their attributes, unless it is one line
	MaxCutLines = 4 << 10   // lines between two cuts: all may be empty, and the log adds a prefix to each
	MaxName     = 255       // bytes of an agent id, a host, a source, a reason
	MaxIdentity = 512       // bytes of a source's identity
	MaxTrail    = 8         // points of a trail
	MaxStreams  = 1 << 17   // streams in a welcome that an agent reads: far more files than one follows
	MaxAbout    = 64        // files in a welcome
	MaxChain    = 2         // batches of one stream that are on their way at a time
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
	Kind          StreamKind // set by the input, never sent. Lossy: a forward jump is a counted gap, not an error
	Stream        StreamID   // as its owner, the Agent, calls it; zero = anonymous: cannot be sent again
	Epoch         uint32
	Offset, End   int64 // source bytes; End is explicit, never Offset+len(Text)
	Before, After Hash  // tail hashes at Offset and End
	FirstLine     int64 // lossy only: number of the stream's lines before this batch
	Time          int64 // when the lines were read, in microseconds since 1970 (UTC)

	Input  string // that received it: "tcp", "udp", ...; set by the input, never sent
	Agent  string // the sender, which owns the stream: from the session
	Host   string // of lines whose mark names none: from the session, or the peer's address
	Source string // likewise: from the open, or the input's configuration; "" of a stream's data: that of the open

	Cuts  []Cut  // places inside Text where the batch may be divided; ascending, none at the end
	Marks []Mark // where the labels change inside Text; ascending, the first may be at 0, none at the end
	Text  []byte // lines, each ending in '\n'

	Joined bool // lines of Text may be records of several lines: see AppendRecord

	Control
	Local
}

// Control is what batches without text have.
type Control struct {
	Identity []byte // OpOpen: how the agent recognises the source; opaque to the collector
	Reason   string // OpSkip
}

// Local is the part of a batch that is never sent: what inputs of the collector set, and Next.
type Local struct {
	Next       func()      // see Appender; may be nil
	Address    string      // of the peer, without a port; "" if the input does not see it
	Key        *Key        // of a request with a key
	Relayed    bool        // its lines come from another log: their marks may name its notices
	Extensions []Extension // to remember with the lines
}

// Cut is a line end inside a batch's text, and its position in the stream.
type Cut struct {
	Text  int   // bytes of Text before the cut
	End   int64 // source offset at the cut
	After Hash  // tail hash at End
}
