// Package decode turns the raw bytes of a source into lines. A decoder knows one
// format: what its files hold beside the text of the lines, which labels a line
// has, and at which places such a file may be read on.
package decode

import (
	"time"

	"fanin/internal/wire"
)

// Decoder reads the lines of one format. It keeps no state between calls: each call
// begins at a place that an earlier one reported, perhaps one of an earlier process.
// So a batch that failed is read again by repeating the call, and what a decoder
// would have to remember it must find in the bytes.
//
//   - A decoder reports a place only where a fresh decoder yields the same following
//     lines. A complete line behind an open partial one is held back: the place
//     before the partial one is the last that can be reported.
//   - No byte is passed over: bytes that yield no line belong to the line that
//     follows them.
//   - What is held back is bounded: when Input.Limit is set, Decode yields at least
//     one line, and divides the open one if it must. It is bounded in time, too, where
//     a format needs that: see Lines.Wait.
//   - A call yields at most wire.MaxMarks changes of labels: it ends at a place before
//     there are more.
//   - Lines have at most Input.MaxLine bytes, newline included. Longer ones are
//     divided, with the marks of package lines.
//
// Offsets and tail hashes are those of the raw bytes, which the caller takes care of,
// as it does of holes. It hashes the raw bytes after Decode, which must leave those
// that it yields as they are.
type Decoder interface {
	// Scale is how many times larger a block is than the text that Decode may yield
	// from it.
	Scale() int

	// Window returns the part of a block that raw bytes are read into. Decode writes
	// into the rest of it, so that all memory is that of the block.
	Window(block []byte) []byte

	// LineStart returns the last place in raw at which a line begins, the end of raw
	// included; -1 if raw has none. offset is where raw begins in the source.
	LineStart(raw []byte, offset int64) int

	// Decode decodes the lines that are complete in the input.
	Decode(in Input) Lines
}

// Reach is how far back from a place the record that it is in is looked for.
const Reach = 64 << 10

// Input is what a decoder is given: raw bytes behind a place.
type Input struct {
	Block   []byte // the block; Raw is the beginning of its window
	Raw     []byte
	Offset  int64  // of Raw in the source
	Before  []byte // the raw bytes before it, wire.TailSize of them if there are as many
	Inside  bool   // the place is inside a line, of which a part was yielded
	End     bool   // no bytes follow: a last line without its end is complete
	Limit   bool   // more bytes follow, but no block is larger than this one
	MaxLine int
	Quiet   time.Duration // for how long the source has been seen not to grow
	Held    time.Duration // for how long this process has known bytes behind the place
	Each    bool          // fill Lines.Each, and yield all with End, for a decoder around this one

	// Ahead is how many of the raw bytes are the end of the file before, which has places of
	// its own: records around lines are not divided there.
	Ahead int

	// Back returns up to n raw bytes that end at the place, for a decoder to which Before
	// is not enough.
	Back func(n int) []byte
}

// Lines is what a decoder yields. Its slices lie in the block, or are new.
type Lines struct {
	Text   []byte      // whole lines, each ending in '\n'; empty: no line is complete
	Marks  []wire.Mark // where labels change in Text
	Cuts   []Place     // where Text may be divided: at least once for each chunk of package lines
	Raw    int         // how many raw bytes Text stands for: the next place
	Inside bool        // the next place is inside a line
	Split  bool        // the last line is a part of a longer one
	Unfit  int         // lines that are not of the format, and came as they are
	Each   []Line      // with Input.Each: every line of Text, the last one up to Raw

	Joined  bool // Text has newlines inside lines: see wire.AppendRecord
	Divided int  // how many records of several lines end at a bound

	Short bool // no line is complete, and the block has no room for more

	// Wait is set when something is open that a Decode with Input.Quiet of Wait or more
	// yields: the caller calls again when the source has not grown for so long.
	Wait time.Duration
}

// Line is one line of a decoded text, for a decoder around the one that yields it.
type Line struct {
	Text   int   // its end in Lines.Text
	Raw    int   // the place behind it; -1: the source cannot be read on there
	Stream uint8 // which of the streams in the source it belongs to: 0, or 1 for stderr
	Unfit  bool  // it is not of the format
}

// Place is a place inside decoded text at which a source may be read on.
type Place struct {
	Text int // bytes of Text before it
	Raw  int // raw bytes before it
}
