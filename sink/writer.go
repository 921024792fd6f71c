package sink

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"fanin/internal/disk"
	"fanin/internal/lines"
	"fanin/internal/wire"
	"fanin/sink/line"
)

// groupBytes is how much laid-out text makes a group commit full. A group never
// waits to be filled: it takes what is there now.
const groupBytes = 1 << 20

// writer owns everything that commits: one goroutine, no locks but the one under
// which others look at the catalog.
type writer struct {
	s       *Sink
	catalog *catalog
	layout  *line.Layout
	wal     *wal
	file    *file
	keeper  *checkpointer
	mover   mover

	group     group
	ledger    []byte // records of the live generation since the last checkpoint
	ledSize   int64  // bytes of its ledger, those included
	tableLive int64  // bytes of the table when it was last written whole

	seq     uint64      // of the last checkpoint
	pending *checkpoint // being written; its outcome comes over done
	done    chan error
	last    time.Time            // of the last checkpoint
	expired time.Time            // when lossy streams were looked through last
	limited map[string]time.Time // when it was last said that a limit is met
	before  time.Time            // of the last checkpoint before the start

	trouble                   trouble
	complaint                 complaint
	rotateAfter, replaceAfter time.Time // not before, after it failed
	noFile                    error     // why the last try to begin a file failed
	whole                     bool      // the next checkpoint holds everything, synced, whatever the mode
	remaking                  bool      // the state is being made again
}

// group is what the next frame will hold, and who waits for it.
type group struct {
	records []record
	names   []names
	text    []byte
	streams map[wire.StreamID]bool // those that it moves, by the ids of records
	added   map[scope]int          // streams that it adds, less those that it ends
	answers []answer
}

type answer struct {
	request *request
	err     error
}

// request is one Append on its way through the writer.
type request struct {
	batch   *wire.Batch
	outcome chan error
}

// run is the writer: it takes what waits, commits it as one group, and looks
// after the file in between. It ends when the sink closes or the disk fails.
func (w *writer) run() error {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		var err error
		w.s.alive()
		w.rest()
		select {
		case r := <-w.s.in:
			w.rested()
			err = w.gather(r)
		case call := <-w.s.calls:
			err = call(w)
		case err = <-w.done:
			err = w.checkpointed(err)
		case <-w.s.notices.wake:
		case <-tick.C:
			err = w.tick()
		case <-w.s.quit:
			return w.finish()
		}
		if err == nil {
			w.takeNotices()
			err = w.commit()
		}
		if err != nil {
			return w.fail(err)
		}
	}
}

// rested notes that the writer has batches to work on, rest that it waits for
// some.
func (w *writer) rested() { w.s.working.Store(time.Now().UnixNano()) }

func (w *writer) rest() {
	if since := w.s.working.Swap(0); since != 0 {
		w.s.worked.Add(time.Now().UnixNano() - since)
	}
}

// gather takes r and all that waits behind it, up to a full group.
func (w *writer) gather(r *request) error {
	for {
		if err := w.take(r); err != nil {
			return err
		}
		if len(w.group.text) >= groupBytes {
			return nil
		}
		select {
		case r = <-w.s.in:
		default:
			return nil
		}
	}
}

// take puts a batch into the group, or its answer if there is nothing to keep.
// Its answer goes out with the group's commit: what is said of a watermark must
// be durable first.
func (w *writer) take(r *request) (err error) {
	b := r.batch
	var outcome error
	if b.Stream.IsZero() {
		err = w.takeLines(b)
	} else if outcome, err = w.takeStream(b); err != nil {
		outcome = err
	}
	w.answer(r, outcome)
	return err
}

// takeStream finds the stream of b, and returns what to answer, and an error that
// ends the writer.
func (w *writer) takeStream(b *wire.Batch) (outcome, fatal error) {
	id := w.catalog.id(b.Kind, b.Agent, b.Stream)
	if w.group.streams[id] { // it stands where the group will leave it
		if err := w.commit(); err != nil {
			return nil, err
		}
	}
	if b.Kind == wire.StreamLossy {
		return w.takeLossy(id, b)
	}
	return w.takeBatch(id, b)
}

func (w *writer) answer(r *request, err error) {
	w.group.answers = append(w.group.answers, answer{r, err})
}

// takeBatch takes what can be sent again: all of it, or nothing.
func (w *writer) takeBatch(id wire.StreamID, b *wire.Batch) (outcome, fatal error) {
	st := w.catalog.streams[id]
	n := w.s.counts.of(b.Input)
	switch st.judge(b) {
	case repeat:
		n.duplicate.Add(countLines(b.Text))
		return nil, nil
	case elsewhere:
		n.reject(reasonPlace, countLines(b.Text))
		return st.expected(), nil
	}
	switch b.Op {
	case wire.OpData:
		return w.takeText(st, b)
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
		w.s.Notice("SKIPPED stream=%s source=%s host=%s offset=%d..%d reason=%q", b.Stream, st.source, st.origin.Value().host, b.Offset, b.End, b.Reason)
		w.s.counts.skipped.Add(uint64(b.End - b.Offset))
	}
	w.note(id, b)
	return nil, nil
}

// note records an operation that carries no text.
func (w *writer) note(id wire.StreamID, b *wire.Batch) {
	w.group.streams[id] = true
	w.group.records = append(w.group.records, record{
		stream: id, epoch: b.Epoch, op: b.Op, lossy: b.Kind == wire.StreamLossy,
		offset: b.Offset, end: b.End, after: b.After, time: b.Time,
	})
}

// takeText lays a batch out, piece by piece between its cuts. A group may be
// committed after each: the watermark then stands at the cut, which is a place
// in the stream like any other.
func (w *writer) takeText(st *stream, b *wire.Batch) (outcome, fatal error) {
	n := w.s.counts.of(b.Input)
	w.layout.Begin(b.Time, st.origin.Value().host, sourceOf(b.Source, st.source), b.Marks)
	r := record{stream: st.id, epoch: b.Epoch, time: b.Time, offset: b.Offset}
	at := 0
	for i := 0; i <= len(b.Cuts); i++ {
		next := wire.Cut{Text: len(b.Text), End: b.End, After: b.After}
		if i < len(b.Cuts) {
			next = b.Cuts[i]
		}
		piece := b.Text[at:next.Text]
		if lines := lines.Count(piece); lines > wire.MaxCutLines || len(piece) > wire.MaxCutText && lines > 1 || len(piece) > maxPiece {
			n.reject(reasonSize, countLines(b.Text[at:]))
			return &wire.Refused{Reason: fmt.Sprintf("%d lines of %d bytes without a cut; at most %d lines in %d bytes, or one line of %d",
				lines, len(piece), wire.MaxCutLines, wire.MaxCutText, maxPiece)}, nil
		}
		r.end, r.after = next.End, next.After
		lines, length := w.lay(r, piece)
		w.wrote(n, b, lines, length)
		r.offset, at = r.end, next.Text
		if len(w.group.text) >= groupBytes {
			if err := w.commit(); err != nil {
				return err, err
			}
		}
	}
	return nil, nil
}

// maxPiece is the longest single line: a split line carries its marks.
const maxPiece = wire.MaxLine + 256

// takeLines lays anonymous lines out, in slices small enough that no content
// can make a frame too large for the log.
func (w *writer) takeLines(b *wire.Batch) error {
	w.layout.Begin(b.Time, line.CleanName(b.Host, true, "-"), sourceOf(b.Source, "-"), b.Marks)
	return w.takeSlices(b, b.Text)
}

// sourceOf is a source as the file names it.
func sourceOf(own, other string) string {
	if own == "" {
		return other
	}
	return line.CleanName(own, false, other)
}

func (w *writer) takeSlices(b *wire.Batch, text []byte) error {
	const slice = 16 << 10
	n := w.s.counts.of(b.Input)
	for len(text) > 0 {
		end := min(len(text), slice)
		if i := bytes.LastIndexByte(text[:end], '\n'); i >= 0 {
			end = i + 1
		} else {
			end += bytes.IndexByte(text[end:], '\n') + 1
		}
		lines, length := w.lay(record{time: b.Time}, text[:end])
		w.wrote(n, b, lines, length)
		text = text[end:]
		if len(w.group.text) >= groupBytes {
			if err := w.commit(); err != nil {
				return err
			}
		}
	}
	return nil
}

// wrote counts what was laid out of b.
func (w *writer) wrote(n *inputCounts, b *wire.Batch, lines, length int) {
	n.wrote(lines, length)
	w.s.shares.add(b, length, w.file.generation)
}

// lay lays text out under r; anonymous lines continue the record before, if
// that is theirs too.
func (w *writer) lay(r record, text []byte) (lines, length int) {
	g := &w.group
	at := len(g.text)
	g.text, lines = w.layout.Append(g.text, text)
	laid := g.text[at:]
	if last := len(g.records) - 1; r.stream.IsZero() && last >= 0 && g.records[last].stream.IsZero() && g.records[last].time == r.time {
		p := &g.records[last]
		p.lines += uint32(lines)
		p.length += uint32(len(laid))
		p.sum = disk.UpdateChecksum(p.sum, laid)
		return lines, len(laid)
	}
	if !r.stream.IsZero() {
		g.streams[r.stream] = true // also behind a commit in the middle of a batch
	}
	r.lines, r.length = uint32(lines), uint32(len(laid))
	r.sum = disk.Checksum(laid)
	g.records = append(g.records, r)
	return lines, len(laid)
}

// commit makes the group durable, answers for it and then shows it to readers.
// From the sync on its fate is sealed: exactly these bytes go to exactly this
// place in the file before anything else does, now or at the next start.
func (w *writer) commit() error {
	g := &w.group
	if len(g.records) > 0 {
		if err := w.makeWay(int64(len(g.text))); err != nil {
			return err
		}
		f := frame{records: g.records, names: g.names, text: g.text}
		if err := w.log(&f); err != nil {
			return err
		}
		g.reply()
		if err := w.show(&f); err != nil {
			return err
		}
	}
	if len(g.records) == 0 && len(g.answers) > 0 { // repeats rest on the state, too
		if why := w.gone(); why != "" {
			if err := w.remake(why); err != nil {
				return err
			}
		}
	}
	g.reply()
	g.reset()
	if w.wal.used() > w.wal.size/2 && w.pending == nil {
		w.start(w.capture())
	}
	return nil
}

// log writes f into the write-ahead log, waiting for a checkpoint when the ring
// is full, and applies it. A write-ahead log that was deleted meanwhile is none:
// f is written again, into the next.
func (w *writer) log(f *frame) error {
	for {
		if err := w.logOnce(f); err != nil {
			return err
		}
		why := w.gone()
		if why == "" {
			break
		}
		if err := w.remake(why); err != nil {
			return err
		}
	}
	w.wal.durable = w.wal.lsn // in mode none: as durable as it gets
	w.s.mu.Lock()
	w.catalog.apply(f, time.Now().UnixMicro())
	w.s.mu.Unlock()
	for i := range f.records {
		w.ledger = f.records[i].append(w.ledger)
	}
	w.ledSize += int64(len(f.records)) * recordSize
	w.s.counts.commits.Add(1)
	return nil
}

// logOnce writes f into the write-ahead log that there is, and syncs it.
func (w *writer) logOnce(f *frame) error {
	f.generation, f.position = w.file.generation, w.file.size
	at := f.position
	for i := range f.records {
		f.records[i].position = at
		at += int64(f.records[i].length)
	}
	err := w.wal.append(f)
	for errors.Is(err, errNoRoom) {
		if err = w.checkpoint(); err == nil {
			err = w.wal.append(f)
		}
	}
	if err != nil || w.s.Sync != syncCommit {
		return err
	}
	begin := time.Now()
	if err := w.wal.sync(); err != nil {
		return err
	}
	w.s.counts.syncTime.Observe(time.Since(begin).Seconds())
	return nil
}

// show appends a committed frame's text to the file. Whatever happens to the
// file meanwhile, the frame is in the log exactly once afterwards.
func (w *writer) show(f *frame) error {
	shifted := int64(0)
	for rest := f.text; len(rest) > 0; {
		n, shift, err := w.file.append(rest)
		rest = rest[n:]
		if shift != 0 {
			shifted = shift
		}
		if err == nil {
			continue
		}
		if !disk.IsFull(err) {
			return fmt.Errorf("append to the log: %w", err)
		}
		if err := w.pause(err); err != nil {
			return err
		}
	}
	w.settle()
	if shifted == 0 && w.file.deleted() {
		return w.again(f) // not shown here, so that nobody who has it open reads it twice
	}
	w.s.shown(w.file)
	if shifted != 0 {
		w.shiftLedger(len(f.records), shifted)
		return w.replace("appended to or truncated")
	}
	return nil
}

// again commits a frame once more, into the next file: the one it was appended
// to had been deleted by then, so that nobody could ever read it there.
func (w *writer) again(f *frame) error {
	for old := w.file.generation; w.file.generation == old; {
		var err error
		if w.mayReplace() {
			err = w.replace("deleted")
		} else {
			err = w.pause(w.noFile)
		}
		if err != nil {
			return err
		}
	}
	if err := w.log(f); err != nil {
		return err
	}
	return w.show(f)
}

// shiftLedger corrects the last n records for where their text really landed.
func (w *writer) shiftLedger(n int, shift int64) {
	for at := len(w.ledger) - n*recordSize; at < len(w.ledger); at += recordSize {
		var r record
		if r.parse(w.ledger[at:]) == nil {
			r.position += shift
			r.append(w.ledger[at:at])
		}
	}
}

func (g *group) reply() {
	for i := range g.answers {
		g.answers[i].request.outcome <- g.answers[i].err
		g.answers[i] = answer{}
	}
	g.answers = g.answers[:0]
}

func (g *group) reset() {
	g.records, g.text = g.records[:0], g.text[:0]
	clear(g.names)
	g.names = g.names[:0]
	clear(g.streams)
	clear(g.added)
	if cap(g.text) > 4*groupBytes {
		g.text = nil // one batch of hostile bytes shall not be remembered for ever
	}
}

// fail answers everybody that the outcome is not known, and ends the writer. The
// write-ahead log may hold what was not acknowledged; the next start decides.
func (w *writer) fail(err error) error {
	for i := range w.group.answers {
		w.group.answers[i].err = err
	}
	w.group.reply()
	w.stop()
	return err
}

func countLines(text []byte) uint64 { return uint64(lines.Count(text)) }
