package sink

import (
	"fanin/internal/lines"
	"fanin/internal/wire"
)

// lossyMark is how far a lossy stream came: of one that is known, or of what is
// left of one that expired.
type lossyMark struct {
	epoch  uint32
	offset int64
	lines  int64
}

func (c *catalog) lossyMark(id wire.StreamID) (m lossyMark, known bool) {
	if st := c.streams[id]; st != nil {
		return lossyMark{st.Epoch, st.Offset, st.lines}, true
	}
	if x := c.tombs.byID[id]; x != nil {
		return lossyMark{x.epoch, x.offset, x.lines}, true
	}
	return m, false
}

// repeats reports whether b was committed before, or came too late.
func (m *lossyMark) repeats(b *wire.Batch) bool {
	return b.Epoch < m.epoch || b.Epoch == m.epoch && b.Offset < m.offset
}

// acceptLossy accepts what is sent only once. The line numbers show exactly what never came.
func (w *writer) acceptLossy(id wire.StreamID, b *wire.Batch) (outcome, fatal error) {
	n := w.s.counts.of(b.Input)
	mark, known := w.catalog.lossyMark(id)
	if known && mark.repeats(b) {
		n.Duplicate(countLines(b.Text))
		return nil, nil
	}
	st := w.catalog.streams[id]
	if st == nil {
		if refused := w.admit(b); refused != nil {
			return refused, nil
		}
	}
	own := namesOf(b)
	if gap := b.FirstLine - mark.lines; known && b.Epoch == mark.epoch && gap > 0 {
		w.s.counts.streams.gapLines.Add(uint64(gap))
		w.s.Notice("LOST stream=%s source=%s host=%s n=%d offset=%d..%d reason=datagrams", b.Stream, own.source,
			own.host, gap, mark.offset, b.Offset)
	}
	if st == nil || !st.hasNames(b) || b.Epoch != st.Epoch {
		open := *b
		open.Op, open.End = wire.OpOpen, b.Offset
		open.After = wire.Hash(b.FirstLine)
		w.group.names = append(w.group.names, own)
		w.addRecord(id, &open)
	}
	w.layout.Begin(b.Time, own.host, own.source, b.Marks)
	lines, length := w.layOut(record{
		stream: id, epoch: b.Epoch, lossy: true, time: b.Time, offset: b.Offset, end: b.End,
		after: wire.Hash(b.FirstLine + int64(lines.Count(b.Text))),
	}, b.Text)
	w.countWritten(n, b, lines, length)
	return nil, nil
}
