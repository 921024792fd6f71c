package tail

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"fanin/internal/disk"
	"fanin/internal/lines"
	"fanin/internal/tail/decode"
	"fanin/internal/wire"
)

// file is a source. It stays open while it has unsent lines, so that renaming or deleting it
// does not lose them, and no other file can get its inode. After that it stays open for as
// long as there are descriptors.
type file struct {
	f       *descriptor
	decoder decode.Decoder // nil: not chosen yet
	choose  decode.Chooser // nil: the decoder is fixed
	handle  []byte
	system  uint64                    // see disk.FileSystem
	begins  atomic.Pointer[beginning] // as it was last read
}

func (f *file) close() { f.f.Close() }

func (f *file) size() int64 {
	fi, err := f.f.Stat()
	if err != nil {
		return 0
	}
	return fi.Size()
}

// modified returns when the file was last written to; or, if that is not known.
func (f *file) modified(or time.Time) time.Time {
	fi, err := f.f.Stat()
	if err != nil {
		return or
	}
	return fi.ModTime()
}

// deleted reports whether the file has no name left.
func (f *file) deleted() bool {
	fi, err := f.f.Stat()
	return err == nil && disk.Links(fi) == 0
}

// tailAt reads the bytes that the tail hash at offset covers. The error is errShort if the
// file is shorter.
func (f *file) tailAt(offset int64) ([]byte, error) {
	b := make([]byte, min(offset, wire.TailSize))
	if n, err := f.f.ReadAt(b, offset-int64(len(b))); n < len(b) {
		if err == nil || err == io.EOF {
			return nil, errShort
		}
		return nil, &fileError{err}
	}
	return b, nil
}

var errShort = errors.New("the file is shorter")

// fileError is an error of a file, and not of the connection.
type fileError struct{ error }

func (e *fileError) Unwrap() error { return e.error }

// readable returns the error of a disk on which the bytes before offset cannot be read:
// then nothing is known of them. A file that is shorter is no such error.
func (f *file) readable(offset int64) error {
	if _, err := f.tailAt(offset); err != nil && !errors.Is(err, errShort) {
		return fmt.Errorf("read before offset %d: %w", offset, err)
	}
	return nil
}

// holds reports whether p is a place in this file: the bytes before it have its hash.
func (f *file) holds(p wire.Point) bool {
	if p.Offset < 0 {
		return false
	}
	b, err := f.tailAt(p.Offset)
	return err == nil && wire.TailHash(b) == p.Tail && f.provesPlace(b, p.Offset)
}

// still reports whether the bytes before c are the same as when they were read. A file that
// was truncated and grew again may be as long as before.
func (f *file) still(c cursor) bool {
	_, still, _ := f.readBehind(c, make([]byte, 1))
	return still
}

// readBehind reads what is behind c into b, and reports whether the bytes before c still are what they were: both
// in one call, since most files have few new bytes at a time.
func (f *file) readBehind(c cursor, b []byte) (n int, still bool, err error) {
	if f.f.archive != nil { // its content has a hash
		n, err = f.f.ReadAt(b, c.Offset)
		return n, true, withoutEOF(err)
	}
	before := make([]byte, min(c.Offset, wire.TailSize))
	n, err = f.f.readParts(c.Offset-int64(len(before)), before, b)
	if n < len(before) || !bytes.Equal(before, c.tail) {
		return 0, false, withoutEOF(err)
	}
	n -= len(before)
	return n, !allNUL(before) || len(before) == 0 || n == 0 || b[0] != 0, withoutEOF(err) // as in provesPlace
}

func withoutEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// sizeBehind returns the file's size, or, if it was eof and that is c, whether it is more. still reports whether
// the file holds c.
func (f *file) sizeBehind(c cursor, eof int64) (size int64, still bool) {
	if eof != c.Offset || f.f.archive != nil {
		return f.size(), f.still(c)
	}
	n, still, err := f.readBehind(c, make([]byte, 1))
	if err != nil {
		return f.size(), still // a larger one is read, which reports the error
	}
	return c.Offset + int64(n), still
}

// head reads up to n bytes from the start.
func (f *file) head(n int) []byte {
	b := make([]byte, n)
	got, _ := f.f.ReadAt(b, 0)
	return b[:got]
}

// decodeAs sets the format of the file.
func (f *file) decodeAs(table *Table) {
	if f.decoder = table.Decoder; f.decoder == nil {
		f.choose = table.Text.Choose
	}
}

// chooseAgain makes the beginning of the file decide its decoder again: it may be another
// one than before.
func (f *file) chooseAgain() {
	if f.choose != nil {
		f.decoder = nil
	}
}

// decoded returns the file's decoder, nil as long as the beginning of the file is too short
// to choose it. If the file is whole, so that it will not grow, its beginning must do.
func (f *file) decoded(whole bool) decode.Decoder {
	if f.decoder == nil {
		f.decoder = f.choose(f.head(headSize), whole)
	}
	return f.decoder
}

// cursor is a place in a file, and what reading on from there needs.
type cursor struct {
	wire.Point
	tail   []byte // the bytes that the hash covers; never changed in place
	inside bool   // the place is inside a line, of which a part was sent
	lines  int64  // number of lines before it, for lossy streams
}

// cursorAt makes a cursor from an offset and the number of lines before it.
func (f *file) cursorAt(offset, before int64) (cursor, error) {
	tail, err := f.tailAt(offset)
	if err != nil {
		return cursor{}, fmt.Errorf("read before offset %d: %w", offset, err)
	}
	c := cursor{Point: wire.Point{Offset: offset, Tail: wire.TailHash(tail)}, tail: tail, lines: before}
	c.inside = len(tail) > 0 && !behindHole(tail) && f.isInside(tail, offset)
	return c, nil
}

// isInside reports whether the place behind tail is inside a line. Where tail is a part of
// one record, what precedes it is read.
func (f *file) isInside(tail []byte, offset int64) bool {
	for {
		if at := f.decoded(true).LineStart(tail, offset-int64(len(tail))); at >= 0 {
			return at < len(tail)
		}
		before := f.back(offset, 4*len(tail))
		if len(before) <= len(tail) || len(tail) >= decode.Reach {
			return true
		}
		tail = before
	}
}

// back reads up to n bytes that end at offset; nil if they cannot be read.
func (f *file) back(offset int64, n int) []byte {
	b := make([]byte, min(offset, int64(n)))
	if got, _ := f.f.ReadAt(b, offset-int64(len(b))); got < len(b) {
		return nil
	}
	return b
}

// lastLineEnd returns the place behind the last whole line.
func (f *file) lastLineEnd() wire.Point {
	end := f.size()
	for end > 0 {
		from := max(0, end-64<<10)
		b := make([]byte, end-from)
		if _, err := f.f.ReadAt(b, from); err != nil {
			break
		}
		if i := f.decoded(true).LineStart(b, from); i >= 0 {
			c, err := f.cursorAt(from+int64(i), 0)
			if err != nil {
				break
			}
			return c.Point
		}
		end = from
	}
	return wire.Point{}
}

// after returns the cursor behind raw bytes that were read at c.
func (c *cursor) after(raw []byte) cursor {
	n := cursor{tail: joinTail(c.tail, raw)}
	n.Offset = c.Offset + int64(len(raw))
	n.Tail = wire.TailHash(n.tail)
	return n
}

// joinTail returns the last wire.TailSize bytes of a and b together, as a new slice.
func joinTail(a, b []byte) []byte {
	if len(b) >= wire.TailSize {
		return slices.Clone(b[len(b)-wire.TailSize:])
	}
	if keep := wire.TailSize - len(b); len(a) > keep {
		a = a[len(a)-keep:]
	}
	return append(append(make([]byte, 0, len(a)+len(b)), a...), b...)
}

// hashAfter returns the tail hash behind raw bytes that were read at c.
func (c *cursor) hashAfter(raw []byte) wire.Hash {
	if len(raw) >= wire.TailSize {
		return wire.TailHash(raw)
	}
	return wire.TailHash(joinTail(c.tail, raw))
}

// read is what was read of the file for one batch.
type read struct {
	from, to cursor
	text     []byte
	marks    []wire.Mark
	cuts     []wire.Cut
	block    []byte        // holds text; it goes back to the pool
	full     bool          // the file has more than fits into the block
	split    bool          // text is a part of a line that is too long
	short    bool          // no text: the block is too small for the line
	apart    bool          // no text: what was carried ends before the first byte of the file
	wait     time.Duration // no text: read again when the file has not grown for so long; 0: no need
	hole     int64         // where a hole begins that reading stopped at; -1: there is none
	skip     bool          // no text: what is between from and to is not sent
	reason   string        // for it
	unfit    int           // lines that are not of the format
	joined   bool          // as in wire.Batch
	divided  int           // records that end at a bound
}

// isEmpty reports whether there is nothing to send.
func (r *read) isEmpty() bool { return r.text == nil && !r.skip }

// limits bound what is read at a time, in bytes. The longest line fits into the largest
// block.
type limits struct {
	line, block int
	quiet, held time.Duration // as in decode.Input
	carried     carried       // what precedes the first bytes of the file
}

// window is what was read for a batch.
type window struct {
	block []byte
	ahead int    // bytes of the file before, at the start of raw
	raw   []byte // without a decoder: nil
	full  bool   // the file may have more than fits
	end   int64  // the file's size then
}

// fill reads at c into block. Nothing is read as long as the file has too little to choose its decoder. The
// error is errTruncated if the file does not hold what was read of it.
func (f *file) fill(c cursor, block []byte, by carried, final bool) (w window, err error) {
	w.block = block
	if decoder := f.decoded(final); decoder != nil {
		w.raw = decoder.Window(block)
		w.ahead = copy(w.raw, by.raw)
	}
	into := w.raw[w.ahead:]
	if len(into) == 0 {
		into = make([]byte, 1)
	}
	n, still, err := f.readBehind(c, into)
	switch {
	case !still:
		return w, cmp.Or(f.readable(c.Offset), errTruncated)
	case err != nil:
		return w, fmt.Errorf("read at offset %d: %w", c.Offset, &fileError{err})
	}
	if w.end = c.Offset + int64(n); n == len(into) || f.f.archive != nil {
		w.end = max(w.end, f.size())
	}
	w.full = w.raw != nil && w.ahead+n >= len(w.raw)
	w.raw = w.raw[:min(w.ahead+n, len(w.raw))]
	return w, nil
}

// readBatch fills block at c, and takes a batch from that.
func (f *file) readBatch(c cursor, block []byte, most limits, final bool, endsAt int64) (read, error) {
	w, err := f.fill(c, block, most.carried, final)
	if err != nil {
		return read{from: c, block: block, hole: -1}, err
	}
	return f.decode(c, &w, most, final, endsAt)
}

// decode takes whole lines at c from what was read there; text is nil when no line is complete. If the
// file is final, so that it will not grow, its last line is complete as it is. Nothing is
// taken beyond a hole. The line before a hole at endsAt is complete as it is, too.
func (f *file) decode(c cursor, w *window, most limits, final bool, endsAt int64) (read, error) {
	r := read{from: c, block: w.block, hole: -1, full: w.full}
	raw, ahead := w.raw, w.ahead
	if len(raw) == ahead {
		return r, nil
	}
	decoder, block := f.decoder, w.block
	if i := firstHole(raw[ahead:], c.Offset == 0); i >= 0 {
		raw, r.full, r.hole = raw[:ahead+i], false, c.Offset+int64(i)
		final = final || r.hole == endsAt
	}
	in := f.input(&r, raw, most)
	in.Ahead = ahead
	in.End = final && !r.full
	out := decodeIn(decoder, in, len(block) >= most.block)
	r.apart = ahead > 0 && len(out.Text) > 0 && (out.Raw <= ahead || len(out.Cuts) > 0 && out.Cuts[0].Raw <= ahead)
	if len(out.Text) == 0 || r.apart {
		r.short, r.wait = r.full || out.Short, out.Wait
		return r, nil
	}
	r.take(&c, raw[ahead:], &out, ahead)
	return r, nil
}

// input returns what a decoder is given for r. What precedes raw may be in the file before.
func (f *file) input(r *read, raw []byte, most limits) decode.Input {
	at := r.from
	if from := most.carried.from; from.Offset > 0 || len(most.carried.raw) > 0 {
		at = from
	}
	in := decode.Input{Block: r.block, Raw: raw, Offset: at.Offset, Before: at.tail, Inside: at.inside,
		Limit: r.full && len(r.block) >= most.block, MaxLine: most.line}
	if at.Offset == r.from.Offset {
		in.Back = func(n int) []byte { return f.back(at.Offset, n) }
	}
	if !r.full {
		in.Quiet, in.Held = most.quiet, most.held
	}
	return in
}

// decodeIn decodes in a block; largest says that no block is larger.
func decodeIn(decoder decode.Decoder, in decode.Input, largest bool) decode.Lines {
	out := decoder.Decode(in)
	if out.Short && largest {
		in.Limit = true
		out = decoder.Decode(in)
	}
	return out
}

// take takes lines that were decoded at c from raw, which bytes of the file before precede.
func (r *read) take(c *cursor, raw []byte, out *decode.Lines, ahead int) {
	r.text, r.marks, r.split, r.unfit = out.Text, out.Marks, out.Split, out.Unfit
	r.joined, r.divided = out.Joined, out.Divided
	for _, at := range out.Cuts {
		n := at.Raw - ahead
		r.cuts = append(r.cuts, wire.Cut{Text: at.Text, End: c.Offset + int64(n), After: c.hashAfter(raw[:n])})
	}
	r.to = c.after(raw[:out.Raw-ahead])
	r.to.inside = out.Inside
	r.to.lines = c.lines + int64(lines.Count(r.text))
}
