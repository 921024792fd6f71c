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
}

// answer is the answer to a frame.
type answer struct {
	number uint32
	text   string
}

// Bounds of a batch.
const (
	maxText = wire.MaxCutText
	maxLaid = 1 << 20 // far less than the write-ahead log
	maxHeld = 4 << 20 // of the lines at the beginning of a session
	// maxAnswers of frames that are no messages, too.
	maxAnswers = 2 * wire.MaxCutLines
	// layout is what the log adds to a line besides its labels, at most.
	layout = 64
)

// fits reports whether the batch may have a message more of which the line can have n bytes.
func (b *batch) fits(n, window int) bool {
	space := len(b.Text) == 0 || len(b.Text)+n <= maxText && b.laid+n < maxLaid
	return space && len(b.hashes) < min(window, wire.MaxCutLines/2) && len(b.answers) < maxAnswers
}

// reset empties the batch.
func (b *batch) reset() {
	*b = batch{hashes: b.hashes[:0], ends: b.ends[:0], answers: b.answers[:0], Batch: wire.Batch{Marks: b.Marks[:0]}}
}

// dropFirst removes the lines of the first messages, and returns how many lines and bytes they have.
func (b *batch) dropFirst(messages int) (n, bytes int) {
	if messages = min(messages, len(b.hashes)); messages == 0 {
		return 0, 0
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
