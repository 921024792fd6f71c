package sink

import (
	"bytes"
	"cmp"
	"fmt"

	"fanin/internal/counters"
	"fanin/internal/disk"
	"fanin/internal/lines"
	"fanin/internal/wire"
)

// accept adds a batch to the group, or only its answer if there is nothing to commit.
// The answer is sent when the group is committed: what it reports of a watermark must
// be durable first.
func (w *writer) accept(r *request) (err error) {
	b := r.batch
	var outcome error
	if len(b.Extensions) > 0 {
		outcome, err = w.admitExtensions(b)
	}
	switch {
	case outcome != nil || err != nil:
	case b.Stream.IsZero():
		err = w.acceptAnonymous(b)
	default:
		outcome, err = w.acceptStream(b)
	}
	w.group.undivided = false
	if err != nil {
		outcome = err
	}
	w.answer(r, outcome)
	return err
}

// acceptStream finds the stream of b, and returns what to answer, and an error that
// ends the writer.
func (w *writer) acceptStream(b *wire.Batch) (outcome, fatal error) {
	owner := b.Agent
	if b.Kind == wire.StreamKey {
		owner = "" // the key alone names the request, whatever its sender
	}
	id := w.catalog.id(b.Kind, owner, b.Stream)
	st := w.catalog.streams[id]
	switch {
	case st != nil && w.group.continued(id, b):
		return w.acceptText(st, b)
	case w.group.streams[id]: // its watermark moves when the group is committed
		if err := w.commit(); err != nil {
			return nil, err
		}
	}
	switch b.Kind {
	case wire.StreamLossy:
		return w.acceptLossy(id, b)
	case wire.StreamKey:
		return w.acceptKey(id, b)
	}
	return w.acceptBatch(id, b)
}

func (w *writer) answer(r *request, err error) {
	w.group.answers = append(w.group.answers, answer{r, err})
}

// acceptBatch takes what can be sent again: all of it, or nothing.
func (w *writer) acceptBatch(id wire.StreamID, b *wire.Batch) (outcome, fatal error) {
	st := w.catalog.streams[id]
	n := w.s.counts.of(b.Input)
	switch st.compare(b) {
	case repeat:
		n.Duplicate(countLines(b.Text))
		return nil, nil
	case outOfPlace:
		n.Rejected(counters.OutOfPlace, countLines(b.Text))
		return st.expected(), nil
	}
	switch b.Op {
	case wire.OpData:
		return w.acceptText(st, b)
	case wire.OpOpen:
		if st == nil {
			if refused := w.admit(b); refused != nil {
				return refused, nil
			}
		}
		w.group.names = append(w.group.names, namesOf(b))
	case wire.OpEnd:
		w.group.count(st.origin.Value(), -1)
	case wire.OpSkip:
		if b.Reason == wire.SkipContinued {
			break // nothing is missing
		}
		w.s.Notice("SKIPPED stream=%s source=%s host=%s offset=%d..%d reason=%q", b.Stream, st.source,
			st.origin.Value().host, b.Offset, b.End, b.Reason)
		w.s.counts.streams.skips.Add(1)
		w.s.counts.streams.skippedBytes.Add(uint64(b.End - b.Offset))
	}
	w.addRecord(id, b)
	return nil, nil
}

// addRecord records an operation that carries no text.
func (w *writer) addRecord(id wire.StreamID, b *wire.Batch) {
	w.group.streams[id] = true
	w.group.records = append(w.group.records, record{
		stream: id, epoch: b.Epoch, op: b.Op, lossy: b.Kind == wire.StreamLossy,
		offset: b.Offset, end: b.End, after: b.After, time: b.Time,
	})
}

// acceptText lays a batch out, piece by piece between its cuts. A group may be
// committed after each: the watermark then stands at the cut, which is a place
// in the stream like any other.
func (w *writer) acceptText(st *stream, b *wire.Batch) (outcome, fatal error) {
	n := w.s.counts.of(b.Input)
	w.layout.BeginBatch(b, st.origin.Value().host, sourceOf(b.Source, st.source))
	r := record{stream: st.id, epoch: b.Epoch, time: b.Time, offset: b.Offset, key: b.Kind == wire.StreamKey}
	at, attributes := 0, attributeCounter{marks: b.Marks}
	for i := 0; i <= len(b.Cuts); i++ {
		next := wire.Cut{Text: len(b.Text), End: b.End, After: b.After}
		if i < len(b.Cuts) {
			next = b.Cuts[i]
		}
		piece := b.Text[at:next.Text]
		if refused := checkPiece(piece, attributes.count(at, piece)); refused != nil {
			n.Rejected(counters.TooLarge, countLines(b.Text[at:]))
			return refused, nil
		}
		r.end, r.after = next.End, next.After
		r.whole = r.key && r.after == b.Key.Content
		lines, length := w.layOut(r, piece)
		w.countWritten(n, b, lines, length)
		r.offset, at = r.end, next.Text
		if w.group.mayDivide() {
			w.divided++
			if err := w.commit(); err != nil {
				return err, err
			}
		}
	}
	w.group.addExtensions(b)
	return nil, nil
}

// maxPiece is the longest single line: a split line carries its marks.
const maxPiece = wire.MaxLine + 256

// checkPiece returns why a piece is larger than a frame may be, nil if it is not. attributes is
// how many bytes those of its lines have.
func checkPiece(piece []byte, attributes int) error {
	n := lines.Count(piece)
	if n <= wire.MaxCutLines && (len(piece)+attributes <= wire.MaxCutText || n == 1) && len(piece) <= maxPiece {
		return nil
	}
	return &wire.Refused{Reason: fmt.Sprintf("%d lines of %d bytes and %d of attributes without a cut; at most %d "+
		"lines in %d bytes, or one line of %d", n, len(piece), attributes, wire.MaxCutLines, wire.MaxCutText, maxPiece)}
}

// attributeCounter counts the attributes of lines as the file has them: once a line, and not once
// a mark.
type attributeCounter struct {
	marks []wire.Mark // those ahead
	now   int         // bytes that each line has
}

// count returns how many bytes of attributes the lines of piece have, which is the next one and
// begins at byte at of the batch's text.
func (c *attributeCounter) count(at int, piece []byte) (n int) {
	for len(piece) > 0 {
		for len(c.marks) > 0 && c.marks[0].Text <= at {
			c.now, c.marks = len(c.marks[0].Labels.Attributes), c.marks[1:]
		}
		run := len(piece)
		if len(c.marks) > 0 {
			run = min(run, c.marks[0].Text-at)
		}
		if c.now > 0 {
			n += c.now * lines.Count(piece[:run])
		}
		at, piece = at+run, piece[run:]
	}
	return n
}

// acceptAnonymous lays anonymous lines out, in slices small enough that neither content
// nor labels can make a frame larger than the write-ahead log.
func (w *writer) acceptAnonymous(b *wire.Batch) error {
	w.layout.BeginBatch(b, hostOf(b), sourceOf(b.Source, "-"))
	return w.acceptSlices(b, b.Text)
}

// hostOf is the host of a batch as the file has it.
func hostOf(b *wire.Batch) string { return cmp.Or(wire.CleanHost(b.Host), "-") }

// sourceOf is a source as the file has it, or another if there is none.
func sourceOf(source, other string) string {
	return cmp.Or(wire.CleanSource(source), other)
}

func (w *writer) acceptSlices(b *wire.Batch, text []byte) error {
	const slice = 16 << 10
	n := w.s.counts.of(b.Input)
	for len(text) > 0 {
		end := min(len(text), slice)
		if i := bytes.LastIndexByte(text[:end], '\n'); i >= 0 {
			end = i + 1
		} else {
			end += bytes.IndexByte(text[end:], '\n') + 1
		}
		end = lines.ChunkLength(text[:end])
		lines, length := w.layOut(record{time: b.Time}, text[:end])
		w.countWritten(n, b, lines, length)
		text = text[end:]
		if w.group.mayDivide() {
			w.divided++
			if err := w.commit(); err != nil {
				return err
			}
		}
	}
	w.group.addExtensions(b)
	return nil
}

// countWritten counts what was laid out of b.
func (w *writer) countWritten(n *counters.Input, b *wire.Batch, lines, length int) {
	n.Written(lines, length)
	w.s.counts.shares.add(b, length, w.file.generation)
}

// layOut lays text out under r; anonymous lines continue the record before, if
// that is theirs too.
func (w *writer) layOut(r record, text []byte) (lines, length int) {
	g := &w.group
	at := len(g.text)
	g.text, lines = w.layout.Append(g.text, text)
	laid := g.text[at:]
	if last := len(g.records) - 1; r.stream.IsZero() && last >= 0 && g.records[last].stream.IsZero() &&
		g.records[last].time == r.time {
		p := &g.records[last]
		p.lines += uint32(lines)
		p.length += uint32(len(laid))
		p.sum = disk.UpdateChecksum(p.sum, laid)
		return lines, len(laid)
	}
	if !r.stream.IsZero() {
		g.streams[r.stream] = true // also behind a commit in the middle of a batch
		if !r.key && !r.lossy {
			g.ends[r.stream] = end{r.epoch, r.end, r.after}
		}
	}
	r.lines, r.length = uint32(lines), uint32(len(laid))
	r.sum = disk.Checksum(laid)
	g.records = append(g.records, r)
	return lines, len(laid)
}

func countLines(text []byte) int { return lines.Count(text) }

// acceptNotices adds the log's own lines to the group.
func (w *writer) acceptNotices() {
	for _, n := range w.s.queue.notices.take() {
		w.s.counts.of(ownInput).Received(1, len(n.text))
		if w.s.Format == "raw" {
			w.s.counts.of(ownInput).Rejected(counters.RawFormat, 1)
			continue
		}
		w.layout.Begin(n.time, w.s.Host, wire.SourceNotice, nil)
		w.s.counts.of(ownInput).Written(w.layOut(record{time: n.time}, n.text))
	}
}
