package wire

import (
	"slices"
	"time"

	"github.com/tinylib/msgp/msgp"
)

// marks reads changes of labels, and returns how many bytes they take. A name that
// stays the same takes memory once.
func (d *Decoder) marks(b *Batch) (bytes int) {
	most := int(d.in.Array(MaxMarks))
	d.in.Widen(min(most*leastMark, marksAhead))
	var last Labels
	for len(b.Marks) < most && d.in.Err == nil {
		ahead := min(most-len(b.Marks), d.in.R.Buffered()/timeMark+1)
		if d.pay(bytes+ahead*MarkBytes, max(most*MarkBytes, d.whole)); d.in.Err != nil {
			break
		}
		b.Marks = slices.Grow(b.Marks, max(ahead, min(most, cap(d.block)/MarkBytes)-len(b.Marks)))
		if n := d.timeMarks(b, ahead, &last); n > 0 {
			bytes += n * MarkBytes
			continue
		}
		m := d.mark(&last)
		bytes += m.Labels.bytes(&last)
		d.pay(bytes, bytes)
		b.Marks = append(b.Marks, m)
		last = m.Labels
	}
	return bytes
}

// mark reads a mark behind one with labels last.
func (d *Decoder) mark(last *Labels) (m Mark) {
	elements := d.in.Array(5)
	if elements < 4 {
		d.in.Fail("a mark of %d elements; want 4 or 5", elements)
		return m
	}
	m.Text = int(d.in.Int())
	m.Labels.Host, m.Labels.Source = d.change(last.Host), d.change(last.Source)
	if !d.in.Nil() {
		m.Labels.Time = time.UnixMicro(d.in.Int())
	}
	if m.Labels.Attributes = last.Attributes; elements > 4 {
		m.Labels.Attributes = Attributes(d.in.StringLike(string(last.Attributes), MaxAttributes))
	}
	return m
}

// change reads a name, which is nil if it is that of the mark before.
func (d *Decoder) change(before string) string {
	if d.in.Nil() {
		return before
	}
	return d.in.StringLike(before, MaxName)
}

const (
	arrayOf4  = 0x94 // MessagePack: the head of an array of 4 elements
	nilByte   = 0xc0
	timeMark  = 16 // about how many bytes a mark has whose time alone is new
	timeNames = 2  // its names, each a nil

	leastMark  = 5 // bytes
	marksAhead = 4 << 10
)

// timeMarks reads up to n marks whose time alone is new, as far as the buffer has them whole,
// and returns how many: most marks are such where each line has a time of its own. Any other
// mark is left to mark.
func (d *Decoder) timeMarks(b *Batch, n int, last *Labels) (read int) {
	ahead := d.in.Ahead()
	rest := ahead
	for ; read < n && len(rest) > 0 && rest[0] == arrayOf4; read++ {
		text, after, err := msgp.ReadInt64Bytes(rest[1:])
		if err != nil || len(after) < timeNames || after[0] != nilByte || after[1] != nilByte {
			break
		}
		at, after, err := msgp.ReadInt64Bytes(after[timeNames:])
		if err != nil {
			break
		}
		last.Time = time.UnixMicro(at)
		b.Marks = append(b.Marks, Mark{Text: int(text), Labels: *last})
		rest = after
	}
	d.in.Discard(len(ahead) - len(rest))
	return read
}
