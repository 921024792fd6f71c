package redis

import (
	"context"

	"fanin/ingest"
	"fanin/internal/sequence"
)

// block is entries that are committed together.
type block struct {
	sequence.Builder
	memory []byte     // of the budget, where the text is
	done   []streamID // with a group: entries that are to be acknowledged then
	losses entryLosses

	last  streamID // the latest entry that has lines in it
	large bool     // it has an id that the log must remember beside the witness
}

// acquire gets memory for the text of the block, if it has none. Where memory is short, it first
// waits for the block that is being committed, so that a stream holds one block while others
// wait. While it waits for memory, it holds none.
func (s *streamReader) acquire(ctx context.Context) (err error) {
	b := s.block
	if b.memory != nil {
		return nil
	}
	if b.memory = s.n.Budget.TryAcquire(sequence.FullBatch); b.memory == nil {
		if err := s.awaitCommit(); err != nil {
			return err
		}
		if b.memory, err = s.n.Budget.Acquire(ctx, sequence.FullBatch); err != nil {
			return err
		}
	}
	b.Text = b.memory[:0]
	return nil
}

// release releases the memory of the text.
func (b *block) release(budget *ingest.Budget) {
	budget.Release(b.memory)
	b.memory, b.Text = nil, nil
}

// reset empties the block, and releases its memory.
func (b *block) reset(budget *ingest.Budget) {
	b.Reset()
	b.release(budget)
	b.done, b.losses, b.large = b.done[:0], entryLosses{}, false
}

// entryLosses are entries of a block that are not in the log.
type entryLosses struct {
	tooLarge int // their message is longer than allowed
	removed  int // they were delivered to this consumer, and then removed
	first    streamID
	last     streamID
}

// lose counts an entry in the losses of the block, unless it was reported: the session before
// read it, too.
func (s *streamReader) lose(n *int, id streamID) {
	if id.compare(s.told.lost) <= 0 {
		return
	}
	l := &s.block.losses
	if l.tooLarge+l.removed == 0 {
		l.first = id
	}
	l.last = id
	*n++
}

// reportLosses counts and reports what of a block is not in the log.
func (s *streamReader) reportLosses(l *entryLosses) {
	if l.last.compare(s.told.lost) > 0 {
		s.told.lost = l.last
	}
	if l.tooLarge > 0 {
		s.n.Metrics.tooLarge.Add(float64(l.tooLarge))
		s.n.limited.Error("redis_too_large", "entries of a Redis stream are longer than max_message and not in the log",
			"stream", s.stream, "entries", l.tooLarge, "first", l.first, "remedy", "raise max_message")
		s.n.Notice("LOST n=%d unit=entries reason=redis-too-large stream=%s first=%s: they are longer than max_message",
			l.tooLarge, s.source, l.first)
	}
	if l.removed > 0 {
		s.n.Metrics.missed.Add(float64(l.removed))
		s.n.limited.Error("redis_removed", "entries delivered from a Redis stream were removed before they were "+
			"in the log", "stream", s.stream, "entries", l.removed, "first", l.first,
			"remedy", "trim the stream less, or delete no entries that the group has not acknowledged")
		s.n.Notice("LOST n=%d unit=entries reason=redis-removed stream=%s first=%s: they were removed from the stream "+
			"when they were delivered, but not in the log", l.removed, s.source, l.first)
	}
}
