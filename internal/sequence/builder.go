package sequence

import (
	"fanin/internal/lines"
	"fanin/internal/wire"
)

// Builder collects the lines of entries for one batch of a Sequence. It has a mark where the source
// changes, and a cut only where the batch must be divided.
type Builder struct {
	wire.Batch            // Text, Cuts and Marks
	Lines      int        // in Text
	End        wire.Point // of the stream behind Text

	chunk  chunk // since the last cut
	labels int   // bytes that the marks take, at most
}

// chunk is the size of a part of a batch.
type chunk struct{ bytes, lines int }

// FullBatch is how many bytes of text make a batch.
const FullBatch = 1 << 20

// Empty reports whether there is no line in it.
func (b *Builder) Empty() bool { return len(b.Text) == 0 }

// Fits reports whether n more bytes, perhaps of another source, fit into the batch. Anything
// fits into an empty one.
func (b *Builder) Fits(n int) bool {
	return b.Empty() || len(b.Text)+n <= FullBatch && len(b.Marks) < wire.MaxMarks
}

// Whole reports whether the batch needs no cut with more text. A batch with extensions may have
// none.
func (b *Builder) Whole(text []byte) bool {
	return len(b.Cuts) == 0 && (b.Empty() ||
		b.chunk.bytes+len(text) <= wire.MaxCutText && b.chunk.lines+lines.Count(text) <= wire.MaxCutLines)
}

// Size is how many bytes of text and labels the batch has, at most.
func (b *Builder) Size() int { return len(b.Text) + b.labels }

// Add adds whole lines that need no cut. The stream is then at end.
func (b *Builder) Add(source string, text []byte, end wire.Point) {
	b.AddAs(wire.Labels{Source: source}, text, end)
}

// AddAs is Add for lines that may have a time of their own.
func (b *Builder) AddAs(labels wire.Labels, text []byte, end wire.Point) {
	n := lines.Count(text)
	size := len(text) + n*len(labels.Attributes) // the log has them with each line
	if !b.Empty() && (b.chunk.bytes+size > wire.MaxCutText || b.chunk.lines+n > wire.MaxCutLines) {
		b.Cuts = append(b.Cuts, wire.Cut{Text: len(b.Text), End: b.End.Offset, After: b.End.Tail})
		b.chunk = chunk{}
	}
	marks := len(b.Marks)
	if b.Label(labels); len(b.Marks) > marks {
		b.labels += wire.MarkBytes + len(labels.Host) + len(labels.Source) + len(labels.Attributes)
	}
	b.Text = append(b.Text, text...)
	b.Lines += n
	b.chunk.bytes += size
	b.chunk.lines += n
	b.End = end
}

// Reset empties the builder and keeps its memory, except after a very large message.
func (b *Builder) Reset() {
	*b = Builder{Batch: wire.Batch{Text: b.Text[:0], Cuts: b.Cuts[:0], Marks: b.Marks[:0]}}
	if cap(b.Text) > 4*FullBatch {
		b.Text = nil
	}
}
