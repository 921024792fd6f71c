package nats

import (
	"fanin/internal/lines"
	"fanin/internal/wire"
)

// batchBuilder collects the lines of messages for one batch. It has a mark where the source
// changes, and a cut only where the batch must be divided.
type batchBuilder struct {
	wire.Batch            // Text, Cuts and Marks
	lines      int        // in Text
	chunk      chunk      // since the last cut
	end        wire.Point // of the stream behind Text
}

// chunk is the size of a part of a batch.
type chunk struct{ bytes, lines int }

// fullBatch is how much text makes a batch.
const fullBatch = 1 << 20

func (b *batchBuilder) empty() bool { return len(b.Text) == 0 }

// fits reports whether n more bytes, perhaps of another source, fit into the batch. Anything
// fits into an empty one.
func (b *batchBuilder) fits(n int) bool {
	return b.empty() || len(b.Text)+n <= fullBatch && len(b.Marks) < wire.MaxMarks
}

// add adds whole lines that need no cut. The stream is then at end.
func (b *batchBuilder) add(source string, text []byte, end wire.Point) {
	n := lines.Count(text)
	if !b.empty() && (b.chunk.bytes+len(text) > wire.MaxCutText || b.chunk.lines+n > wire.MaxCutLines) {
		b.Cuts = append(b.Cuts, wire.Cut{Text: len(b.Text), End: b.end.Offset, After: b.end.Tail})
		b.chunk = chunk{}
	}
	b.Label(wire.Labels{Source: source})
	b.Text = append(b.Text, text...)
	b.lines += n
	b.chunk.bytes += len(text)
	b.chunk.lines += n
	b.end = end
}

// reset empties the builder and keeps its memory, except after a very large message.
func (b *batchBuilder) reset() {
	*b = batchBuilder{Batch: wire.Batch{Text: b.Text[:0], Cuts: b.Cuts[:0], Marks: b.Marks[:0]}}
	if cap(b.Text) > 4*fullBatch {
		b.Text = nil
	}
}
