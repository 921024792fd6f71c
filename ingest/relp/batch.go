package relp

import (
	"fanin/internal/lines"
	"fanin/internal/wire"
)

// batch is frames that are committed and answered together. It needs no cut, since what it has the log
// remember is not divided.
type batch struct {
	wire.Batch          // its text is in block
	block      []byte   // of the budget; nil: none
	laid       int      // bytes that its lines have in the log, about
	hashes     []uint64 // of its messages
	ends       []int    // of text, behind each message
	answers    []answer // to all its frames, in order
	dropped    bool     // it has no text any more: see dropText
	lines, raw int      // then: lines and bytes that it had
}

// Bounds of a batch.
const (
	maxText = wire.MaxCutText
	maxLaid = 512 << 10 // twice its largest block, and far less than the write-ahead log
	maxHeld = 4 << 20   // of the lines at the beginning of a session
	// keepMessages is for how many messages an empty batch keeps memory.
	keepMessages = 32
	// layout is what the log adds to a line besides its labels, at most.
	layout = 64
)

// fits reports whether the batch may have a message more of which the line can have n bytes.
func (b *batch) fits(n, window int) bool {
	space := len(b.Text) == 0 || len(b.Text)+n <= maxText && b.laid+n < maxLaid
	return space && len(b.hashes) < min(window, wire.MaxCutLines/2) && !b.crowded()
}

// crowded reports whether the batch has as many answers as it may. It has one for each run of frames whose
// numbers follow each other: more than a few are of a client that does not mean well.
func (b *batch) crowded() bool { return len(b.answers) >= maxAnswers }

// reset empties the batch. Its memory is used again if it is small: thousands of sessions may be idle.
func (b *batch) reset() {
	empty := batch{answers: b.answers[:0]}
	if cap(b.hashes) <= keepMessages {
		empty.hashes, empty.ends = b.hashes[:0], b.ends[:0]
	}
	if cap(b.Marks) <= keepMessages {
		clear(b.Marks)
		empty.Marks = b.Marks[:0]
	}
	*b = empty
}

// dropText gives the text up, and returns its block. The messages must be repeats then.
func (b *batch) dropText() (block []byte) {
	block = b.block
	b.dropped, b.lines, b.raw = true, lines.Count(b.Text), len(b.Text)
	b.block, b.ends, b.Batch = nil, nil, wire.Batch{}
	return block
}

// dropFirst removes the lines of the first messages, and returns how many lines and bytes they have.
func (b *batch) dropFirst(messages int) (n, bytes int) {
	if messages = min(messages, len(b.hashes)); messages == 0 {
		return 0, 0
	}
	if b.dropped { // all: see settle
		b.hashes = nil
		return b.lines, b.raw
	}
	at := b.ends[messages-1]
	head := b.Text[:at]
	if at == len(b.Text) {
		b.Text, b.Marks = nil, b.Marks[:0]
	} else if at > 0 {
		b.Cuts = []wire.Cut{{Text: at}}
		_, b.Batch = b.Divide(0)
	}
	b.hashes = b.hashes[messages:]
	return lines.Count(head), at
}
