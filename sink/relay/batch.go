package relay

import (
	"fanin/internal/wire"
	"fanin/sink"
)

// batch is neighbouring lines of one generation, or what is left out of it.
type batch struct {
	wire.Batch
	generation uint64
	lines      int
	full       bool            // more lines are there, behind it
	gap        *sink.GoneError // the lines up to here cannot be read any more; nothing else is set

	piece  piece // since the last cut
	labels int   // bytes of marks
}

// piece is what is behind the last cut of a batch.
type piece struct{ lines, bytes int }

// most is how much text a batch has, where the path allows so much.
const most = 1 << 20

// begin begins a batch at a position.
func (b *batch) begin(at sink.Position, before wire.Hash) {
	text, marks, cuts := b.Text[:0], b.Marks[:0], b.Cuts[:0]
	*b = batch{generation: at.Generation, Batch: wire.Batch{Offset: at.Offset, End: at.Offset, Before: before,
		Text: text, Marks: marks, Cuts: cuts, Local: wire.Local{Relayed: true}}}
}

func (b *batch) empty() bool { return b.lines == 0 && b.Op == wire.OpData && b.gap == nil }

// fits reports whether another line may be added: size bytes of it, with a mark of cost bytes.
func (b *batch) fits(size, cost, limit int) bool {
	return b.lines == 0 || len(b.Text)+size <= most && len(b.Text)+size+b.labels+cost <= limit &&
		len(b.Marks) < wire.MaxMarks && len(b.Cuts) < maxCuts
}

// maxCuts is fewer cuts than a frame may have.
const maxCuts = 512

// divides reports whether a cut must be before another line of size bytes.
func (b *batch) divides(size int) bool {
	return b.piece.lines > 0 && (b.piece.lines == wire.MaxCutLines || b.piece.bytes+size > wire.MaxCutText)
}

// cut divides the batch at its present end.
func (b *batch) cut(end int64, after wire.Hash) {
	b.Cuts = append(b.Cuts, wire.Cut{Text: len(b.Text), End: end, After: after})
	b.piece = piece{}
}

// added counts the line that was appended last.
func (b *batch) added(size int) {
	b.lines++
	b.piece.lines++
	b.piece.bytes += size
}
