package wire

import (
	"iter"
	"slices"
)

// Welcome is the collector's answer to an agent that connects. The log id names the
// log. The incarnation changes when the log's state was lost or is older than its
// file; only then does an agent use its own saved position rather than a watermark.
type Welcome struct {
	Log         StreamID
	Incarnation StreamID
	About       About
	Streams     []StreamState // as an agent has read them
	Listing     Listing       // as a collector sends them, in place of Streams
	Chain       int           // batches of one stream that an agent may have without an answer; 0: one
	MaxText     int           // how many bytes of text and labels a batch may have on this path; 0: MaxText. Never sent
}

// Listing is the streams of an agent in pages, so that no greeting holds all of
// them in memory at once.
type Listing struct {
	Count int
	Pages func(size int) iter.Seq[[]StreamState] // of at most size streams; a page is valid until the next
}

// Listed is the streams of w, however w holds them.
func (w *Welcome) Listed() Listing {
	if w.Listing.Pages != nil {
		return w.Listing
	}
	return Listing{len(w.Streams), func(size int) iter.Seq[[]StreamState] { return slices.Chunk(w.Streams, size) }}
}

// About identifies the log's own files, so that an agent on the same machine does not
// follow them: each line would come back as another line. And it says what the collector can.
type About struct {
	Boot      string    // boot id of the collector's machine; on another machine, device and inode numbers mean nothing
	Files     []LogFile // of the log, the newest first; at most MaxAbout
	Encodings Encoding  // bits: which ones of batches it reads, besides Plain and Zstd
	Way       Way       // of a line, from this log on
}

// MaxWay is how many logs a line may pass through.
const MaxWay = 8

// Way is the logs that a line passes through from a collector on: the collector's own one first,
// then that to which it is forwarded, and so on. So a relay sees, before it sends a line, whether
// the line would come back.
type Way struct {
	Known bool       // it is all of them: the last one is not forwarded
	Logs  []StreamID // at most MaxWay
}

// Equal reports whether two ways are the same.
func (w Way) Equal(v Way) bool { return w.Known == v.Known && slices.Equal(w.Logs, v.Logs) }

// LogFile is a file of the log. The numbers alone do not prove it, since a cloned
// machine has the same: the bytes before Offset do.
type LogFile struct {
	Device, Inode uint64
	Point
}
