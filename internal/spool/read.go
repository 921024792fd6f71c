package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"fanin/internal/lines"
	"fanin/internal/wire"
)

// cursor is a place in a segment at which reading goes on: a record, or a place inside one
// whose text does not fit into a batch.
type cursor struct {
	offset int64 // of the record
	inside int   // bytes of its text before the place; 0: none
	lead   int   // bytes of the record before its text, if inside is not 0
}

// at returns the offset of the place.
func (c cursor) at() int64 {
	if c.inside == 0 {
		return c.offset
	}
	return c.offset + int64(c.lead+c.inside)
}

// batch is what was read of a segment for one batch. Its memory is used again.
type batch struct {
	wire.Batch
	from, to cursor
	lines    int
	arrived  int64 // when its first line did, in microseconds since 1970
	labels   int   // what its marks take, at most
	sources  map[string]string
	chunk    chunk  // since the last cut
	raw      []byte // of the segment
	base     int64  // where raw begins in the segment
	own      []byte // memory of raw, where that is not a block's

	damaged int64 // bytes that are skipped; 0: none
	gap     *gap  // that is skipped
}

type chunk struct{ bytes, lines int }

// keep is how much memory a batch keeps while there is nothing to send.
const keep = 64 << 10

// reset empties the batch, to be read at c.
func (b *batch) reset(c cursor) {
	*b = batch{Batch: wire.Batch{Text: b.Text[:0], Cuts: b.Cuts[:0], Marks: b.Marks[:0]},
		from: c, to: c, own: b.own, sources: b.sources}
}

// isLarge reports whether it has memory that should be given back while there is nothing to send.
func (b *batch) isLarge() bool { return max(cap(b.own), cap(b.Text)) > keep }

// isEmpty reports whether there is nothing to send.
func (b *batch) isEmpty() bool { return len(b.Text) == 0 && !b.isSkip() }

// isSkip reports whether it has no lines, and says which bytes will never be sent.
func (b *batch) isSkip() bool { return b.damaged > 0 || b.gap != nil }

// segmentReader reads the records of a segment.
type segmentReader struct {
	file   io.ReaderAt
	stream wire.StreamID
	synced bool   // see segment
	block  *block // has the place, still in memory; nil: none has it
}

// load reads n raw bytes at c, and those before it that its tail hash covers.
func (r *segmentReader) load(b *batch, n int) error {
	b.base = max(0, b.from.offset-wire.TailSize)
	n += int(b.from.offset - b.base)
	if b.raw = r.block.bytes(b.base, n); b.raw != nil {
		return nil
	}
	b.own = slices.Grow(b.own[:0], n)[:n]
	b.raw = b.own
	if got, err := r.file.ReadAt(b.raw, b.base); got < n {
		return fmt.Errorf("read the segment at offset %d: %w", b.base+int64(got), err)
	}
	return nil
}

// hash returns the tail hash at an offset that was loaded.
func (b *batch) hash(at int64) wire.Hash { return wire.TailHash(b.raw[:at-b.base]) }

// read reads a batch at c of a segment whose first end bytes may be read. room bounds its
// text with its labels. At the end it is empty.
func (r *segmentReader) read(b *batch, c cursor, end int64, room int) error {
	if c.offset == 0 {
		c.offset = firstByte
	}
	b.reset(c)
	if c.offset >= end {
		return nil
	}
	n := int(min(end-c.offset, int64(room)))
	if r.block != nil {
		n = min(n, r.block.after(c.offset))
	}
	for {
		if err := r.load(b, n); err != nil {
			return err
		}
		need, err := r.fill(b, room)
		switch {
		case !b.isEmpty() || err == nil:
			return nil
		case errors.Is(err, errShort) && need > n && c.offset+int64(need) <= end:
			n = need
		default:
			return r.skipDamage(b, end)
		}
	}
}

// fill adds whole records to b for as long as they fit; need is the size of one that is not
// loaded completely.
func (r *segmentReader) fill(b *batch, room int) (need int, err error) {
	for {
		x, err := r.parse(b.to.offset, b.raw[b.to.offset-b.base:])
		if err != nil {
			return x.size, err
		}
		if x.kind == kindEnd {
			return 0, errDamaged
		}
		if b.isEmpty() {
			b.arrived, b.Joined = x.time, x.kind == kindJoined
		}
		switch {
		case x.kind == kindGap:
			if b.isEmpty() {
				g := parseGap(x.text)
				b.gap = &g
				b.to = cursor{offset: b.to.offset + int64(x.size)}
			}
			return 0, nil
		case b.to.inside > 0 || b.isEmpty() && len(x.text)+len(x.source)+markBytes > room:
			b.addPart(&x, room)
			return 0, nil
		case x.kind == kindJoined != b.Joined, !b.add(&x, room):
			return 0, nil
		}
	}
}

// parse reads the record that raw begins with. What is still in memory has a checksum for the
// disk only.
func (r *segmentReader) parse(offset int64, raw []byte) (record, error) {
	if r.block != nil {
		return readRecord(raw)
	}
	return parseRecord(&r.stream, offset, raw)
}

// markBytes is what a mark takes beside its source.
const markBytes = 64

// add adds a record; false: it does not fit.
func (b *batch) add(x *record, room int) bool {
	labels := markBytes + len(x.source)
	if len(b.Text)+len(x.text)+b.labels+labels > room {
		return false
	}
	if !b.Label(wire.Labels{Source: b.sourceOf(x), Time: x.arrived()}) {
		return false
	}
	if len(b.Text) > 0 && (b.chunk.bytes+len(x.text) > wire.MaxCutText || b.chunk.lines+x.lines > wire.MaxCutLines) {
		b.Cuts = append(b.Cuts, wire.Cut{Text: len(b.Text), End: b.to.offset, After: b.hash(b.to.offset)})
		b.chunk = chunk{}
	}
	b.Text = append(b.Text, x.text...)
	b.lines += x.lines
	b.labels += labels
	b.chunk.bytes += len(x.text)
	b.chunk.lines += x.lines
	b.to = cursor{offset: b.to.offset + int64(x.size)}
	return true
}

// sourceOf returns the source of a record.
func (b *batch) sourceOf(x *record) string {
	if len(x.source) == 0 {
		return ""
	}
	name, ok := b.sources[string(x.source)]
	if !ok {
		if b.sources == nil || len(b.sources) >= mostSources {
			b.sources = make(map[string]string)
		}
		name = wire.CleanSource(string(x.source))
		b.sources[string(x.source)] = name
	}
	return name
}

// mostSources is how many sources are remembered, so that their lines take no memory each.
const mostSources = 256

// addPart adds a part of a record that does not fit into a batch as a whole: lines, or a part
// of one that is divided.
func (b *batch) addPart(x *record, room int) {
	rest := x.text[b.to.inside:]
	goesOn := b.to.inside > 0 && x.text[b.to.inside-1] != '\n'
	room -= markBytes + len(x.source)
	n := len(rest)
	if n > room-len(wire.SplitGoesOn) {
		n = lastLine(rest[:room-len(wire.SplitGoesOn)])
	}
	split := n == 0
	if split {
		n = wire.CutLine(rest, lines.PartLimit(room))
		if b.Joined {
			n -= wire.CutsEscape(rest[:n])
		}
	}
	b.Label(wire.Labels{Source: b.sourceOf(x), Time: x.arrived()})
	if goesOn {
		b.Text = append(b.Text, wire.SplitGoesOn...)
	}
	b.Text = append(b.Text, rest[:n]...)
	if split {
		b.Text = append(append(b.Text, wire.SplitMark...), '\n')
	}
	b.lines = lines.Count(b.Text)
	b.to.lead, b.to.inside = x.textAt(), b.to.inside+n
	if b.to.inside == len(x.text) {
		b.to = cursor{offset: b.to.offset + int64(x.size)}
	}
}

// lastLine returns where the last chunk's worth of whole lines ends, 0 if there is none.
func lastLine(text []byte) int {
	if end := bytes.LastIndexByte(text, '\n') + 1; end > 0 {
		return lines.ChunkLength(text[:end])
	}
	return 0
}

// skipDamage makes b a skip of bytes that are no record, up to the next one that is. A torn
// end is skipped completely: of a block that was not synced, the disk may have any part.
// It is one where no later block shows that all before it was synced.
func (r *segmentReader) skipDamage(b *batch, end int64) error {
	at, err := r.next(b.from.offset+1, end, false)
	if err == nil && at < end && !r.synced {
		var later int64
		if later, err = r.next(at, end, true); later == end {
			at = end
		}
	}
	if err != nil {
		return err
	}
	b.damaged = at - b.from.at()
	b.to = cursor{offset: at}
	b.base = max(0, at-wire.TailSize)
	b.own = slices.Grow(b.own[:0], int(at-b.base))[:at-b.base]
	b.raw = b.own
	if n, err := r.file.ReadAt(b.raw, b.base); n < len(b.raw) {
		return fmt.Errorf("read the segment at offset %d: %w", b.base+int64(n), err)
	}
	return nil
}

// next finds the first record at an offset or behind it, of all or of those that begin a block;
// end if there is none.
func (r *segmentReader) next(from, end int64, first bool) (int64, error) {
	window := make([]byte, 0, maxRecord+keep)
	for base := from; base < end; {
		window = window[:min(int64(cap(window)), end-base)]
		if n, err := r.file.ReadAt(window, base); n < len(window) {
			return 0, fmt.Errorf("read the segment at offset %d: %w", base+int64(n), err)
		}
		last := base+int64(len(window)) == end
		for i := range window {
			if !last && i >= keep {
				break
			}
			if x, err := parseRecord(&r.stream, base+int64(i), window[i:]); err == nil && (x.first || !first) {
				return base + int64(i), nil
			}
		}
		if last {
			break
		}
		base += keep
	}
	return end, nil
}

// seek returns the cursor at an offset at which a batch ended: almost always a record, else a
// place inside one that was divided.
func (r *segmentReader) seek(offset, end int64) (cursor, error) {
	direct := cursor{offset: max(offset, firstByte)}
	if offset <= firstByte || offset >= end {
		return direct, nil
	}
	b := new(batch)
	b.reset(direct)
	for n := int64(keep); ; n = maxRecord {
		if err := r.load(b, int(min(n, end-offset))); err != nil {
			return direct, err
		}
		switch _, err := parseRecord(&r.stream, offset, b.raw[offset-b.base:]); {
		case err == nil:
			return direct, nil
		case err == errDamaged || n == maxRecord:
			return r.seekInside(b, direct, end)
		}
	}
}

// seekInside reads the segment from its start to the record that has a place inside.
func (r *segmentReader) seekInside(b *batch, place cursor, end int64) (cursor, error) {
	for c := (cursor{}); ; c = b.to {
		if err := r.read(b, c, end, wire.MaxText); err != nil || b.isEmpty() {
			return place, err
		}
		for at := b.from.offset; b.damaged == 0 && at < b.to.offset; {
			x, err := parseRecord(&r.stream, at, b.raw[at-b.base:])
			if err != nil {
				return place, err
			}
			next := at + int64(x.size)
			if inside := int(place.offset - at - int64(x.textAt())); next > place.offset && inside > 0 {
				return cursor{offset: at, inside: inside, lead: x.textAt()}, nil
			}
			at = next
		}
		if b.to.offset > place.offset {
			return place, nil
		}
	}
}

// countLines counts the lines of a segment.
func (s *Spool) countLines(g *segment) (n int64) {
	f, shut, err := s.open(g)
	if err != nil {
		return 0
	}
	defer shut()
	r := segmentReader{file: f, stream: g.stream, synced: g.file != nil || g.synced}
	b := new(batch)
	for c := (cursor{}); ; c = b.to {
		if err := r.read(b, c, g.size, wire.MaxText); err != nil || b.isEmpty() {
			return n
		}
		n += int64(b.lines)
	}
}
