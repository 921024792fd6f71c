package merge

import (
	"cmp"
	"context"
	"slices"
	"time"

	"fanin/sink"
)

// Source is a log that can be read, on this machine or elsewhere.
type Source interface {
	// Open begins to read at a position; the zero one is that of the oldest line which is still there.
	Open(at sink.Position) Text

	// End is the position behind the last line that can be read now.
	End(ctx context.Context) (sink.Position, error)

	// Since is a position before all lines that were read at a time or later, see sink.Sink.Since.
	Since(ctx context.Context, t time.Time) (sink.Position, error)
}

// Text is a log that is being read. One goroutine uses it.
type Text interface {
	// At is where the next line is, or will be.
	At() sink.Position

	// Read returns the next whole lines, see sink.Reader.
	Read(ctx context.Context, buf []byte) (text []byte, at sink.Position, err error)

	// Spans appends when the lines of a text were read that Read just returned, see sink.Times.
	Spans(dst []sink.Span, text []byte, at sink.Position) ([]sink.Span, error)

	// Wait waits until there may be more to read.
	Wait(ctx context.Context) error

	// Close ends the reading.
	Close() error
}

// Tenure is the part of a partition that one owner wrote.
type Tenure struct {
	Epoch    uint64        // 0: the partition has had no other owner
	Log      Source        // where it stands
	From, To sink.Position // of Log; To zero: as far as Log goes. From zero: from its first line
}

// Partition is the Log of a partition. Its tenures are read one after the other, in the order of their epochs, and
// never by time: so what a source sent to one owner is before what it sent to the next one. A line that stands in two
// logs after a takeover is in the tenure alone whose epoch owns it: From and To leave the other copy out.
type Partition struct {
	// More returns the tenures as they are by now; nil: as they were. It is called while the partition is at its end.
	// Nil: there will be no others.
	More func(ctx context.Context) ([]Tenure, error)

	number  int
	tenures []Tenure
	now     int // the tenure
	text    Text
}

// NewPartition begins to read a partition. The tenures are in the order of their epochs, at least one; from is where to
// begin. Without a position, or with an epoch that is not there, that is where the epoch or the next one begins.
func NewPartition(ctx context.Context, from Place, tenures []Tenure) (*Partition, error) {
	p := &Partition{number: from.Partition, tenures: tenures}
	p.now, _ = find(tenures, from.Epoch, from.At)
	if p.now == len(tenures) { // behind all that is known: at its end
		p.now--
		begin, err := tenures[p.now].end(ctx)
		p.open(begin)
		return p, err
	}
	begin, t := from.At, &tenures[p.now]
	if begin == (sink.Position{}) || t.Epoch != from.Epoch {
		begin = t.From
	}
	p.open(begin)
	return p, nil
}

// end is where a tenure ends, as far as its log goes now.
func (t *Tenure) end(ctx context.Context) (sink.Position, error) {
	if t.To != (sink.Position{}) {
		return t.To, nil
	}
	return t.Log.End(ctx)
}

// Since returns the place before all lines of a partition that were read at a time or later, as Source.Since finds it.
func Since(ctx context.Context, number int, tenures []Tenure, t time.Time) (Place, error) {
	for i, x := range tenures {
		at, err := x.Log.Since(ctx, t)
		if err != nil {
			return Place{}, err
		}
		if at.Compare(x.From) < 0 {
			at = x.From
		}
		if i == len(tenures)-1 || x.To == (sink.Position{}) || at.Compare(x.To) < 0 {
			return Place{number, x.Epoch, at}, nil
		}
	}
	return Place{Partition: number}, nil
}

func (p *Partition) open(at sink.Position) { p.text = p.tenures[p.now].Log.Open(at) }

// Read returns the next whole lines of the partition, see Log.
func (p *Partition) Read(ctx context.Context, buf []byte) (text []byte, at Place, err error) {
	for {
		t := &p.tenures[p.now]
		place := Place{p.number, t.Epoch, p.text.At()}
		if !t.ended(place.At) {
			text, place.At, err = p.text.Read(ctx, buf)
			if err == nil {
				text = t.within(text, place.At)
			}
			if len(text) > 0 || err != nil {
				return text, place, err
			}
		}
		if p.now == len(p.tenures)-1 {
			return nil, place, nil
		}
		if err := p.Close(); err != nil {
			return nil, place, err
		}
		p.now++
		p.open(p.tenures[p.now].From)
	}
}

// ended reports whether a position is behind a tenure.
func (t *Tenure) ended(at sink.Position) bool {
	return t.To != (sink.Position{}) && at.Compare(t.To) >= 0
}

// within returns how much of a text, which begins at a position, is of a tenure.
func (t *Tenure) within(text []byte, at sink.Position) []byte {
	switch {
	case t.ended(at):
		return nil
	case at.Generation == t.To.Generation:
		return text[:min(int64(len(text)), t.To.Offset-at.Offset)]
	}
	return text
}

// Spans appends when lines were read, see Log.
func (p *Partition) Spans(dst []sink.Span, text []byte, at Place) ([]sink.Span, error) {
	return p.text.Spans(dst, text, at.At)
}

// Wait waits until there may be more, see Log.
func (p *Partition) Wait(ctx context.Context) error {
	if p.More != nil {
		list, err := p.More(ctx)
		if err != nil {
			return err
		}
		if list != nil {
			p.adopt(list)
		}
	}
	return p.text.Wait(ctx)
}

// adopt makes the tenures what they are now. The one that is being read stays, though it may have ended.
func (p *Partition) adopt(list []Tenure) {
	if i, ok := find(list, p.tenures[p.now].Epoch, p.text.At()); ok {
		p.tenures, p.now = list, i
	}
}

// find finds the tenure of an epoch that has a position: there are two where a part of one was made again.
func find(list []Tenure, epoch uint64, at sink.Position) (i int, ok bool) {
	i, ok = slices.BinarySearchFunc(list, epoch, func(t Tenure, e uint64) int { return cmp.Compare(t.Epoch, e) })
	for ok && i+1 < len(list) && list[i+1].Epoch == epoch && at.Compare(list[i+1].From) >= 0 {
		i++
	}
	return i, ok
}

// Close ends the reading.
func (p *Partition) Close() error { return p.text.Close() }
