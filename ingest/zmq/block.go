package zmq

import (
	"fanin/internal/counters"
	"fanin/internal/lines"
	"fanin/internal/wire"
)

// block is lines that are appended together. Its text is a block of the memory budget.
type block struct {
	wire.Batch
}

func newBlock(memory []byte, host, source string) *block {
	return &block{wire.Batch{Host: host, Source: source, Text: memory[:0]}}
}

// fits reports whether n more bytes, perhaps of another source, fit: into the memory, and with
// all labels into one batch.
func (b *block) fits(n int) bool { return len(b.Text)+n <= min(cap(b.Text), 2*largeBlock) }

// label sets the source of the lines to come; "": that of the block. It is false if the block
// has too many labels.
func (b *block) label(source string) bool {
	if len(b.Marks) == 0 && source == "" {
		return true
	}
	return b.Label(wire.Labels{Source: source})
}

// add adds the lines of a frame, which has no newline at its end. There is space for them.
func (b *block) add(frame []byte, maxLine int, count *counters.Input) {
	if len(frame) < maxLine {
		b.Text = append(append(b.Text, frame...), '\n')
		return
	}
	text := append(frame[:len(frame):len(frame)], '\n') // a copy: what follows in the buffer is another frame
	var divided int
	b.Text, divided = lines.Split(b.Text, text, maxLine)
	count.Split(divided)
}
