package wire

import (
	"cmp"
	"iter"
	"slices"
	"time"
)

// Labels are what the log shows of a line besides its text. An empty host or
// source is the batch's, and a zero time is when the batch was read.
type Labels struct {
	Host, Source string
	Time         time.Time
	Attributes   Attributes
}

func (l *Labels) equal(m *Labels) bool {
	return l.Host == m.Host && l.Source == m.Source && l.Time.Equal(m.Time) && l.Attributes == m.Attributes
}

// check returns why l is unfit for the log, as an ErrRefused.
func (l *Labels) check() error {
	if l.Source == SourceNotice {
		return refuse("the source %q is the collector's own", SourceNotice)
	}
	return l.checkRelayed()
}

// checkRelayed is check for a line of another log, which may be a notice of that.
func (l *Labels) checkRelayed() error {
	switch {
	case len(l.Host) > MaxName || len(l.Source) > MaxName:
		return refuse("a name is longer than %d bytes", MaxName)
	case !isClean(l.Host, inHost):
		return refuse("the host %q has bytes that a name may not have", l.Host)
	case !isClean(l.Source, inSource):
		return refuse("the source %q has bytes that a name may not have", l.Source)
	case !l.Time.IsZero() && !hasFourDigits(l.Time):
		return refuse("the year %d cannot be written", l.Time.UTC().Year())
	}
	return l.Attributes.check()
}

// hasFourDigits reports whether the year of t, in UTC, is from 0 to 9999.
func hasFourDigits(t time.Time) bool {
	const year0, year10000 = -62167219200, 253402300800 // seconds since 1970
	return t.Unix() >= year0 && t.Unix() < year10000
}

// Mark is a change of labels: they hold for the lines of a batch from byte Text
// of its text on, until the next mark. A batch is divided at cuts and not at marks,
// so a mark costs no record in the log.
type Mark struct {
	Text   int
	Labels Labels
}

// MarkBytes is the memory of a mark without its names and attributes, see LabelBytes.
const MarkBytes = 80

// bytes is how much memory a mark with labels l takes behind one with labels last:
// names and attributes that stay the same are there once.
func (l *Labels) bytes(last *Labels) int {
	n := MarkBytes
	if l.Host != last.Host {
		n += len(l.Host)
	}
	if l.Source != last.Source {
		n += len(l.Source)
	}
	if l.Attributes != last.Attributes {
		n += len(l.Attributes)
	}
	return n
}

// LabelBytes is how many of the MaxText bytes of a batch its marks take. In a frame they
// take less.
func (b *Batch) LabelBytes() (n int) {
	last := new(Labels)
	for i := range b.Marks {
		n += b.Marks[i].Labels.bytes(last)
		last = &b.Marks[i].Labels
	}
	return n
}

// MaxMarks is how many marks a batch may have: one for each line between two
// cuts.
const MaxMarks = MaxCutLines

// Label sets the labels of the text that is appended to b from now on. Host and
// Source of b are set before. Neighbours with equal labels share a mark, so a
// batch whose labels are its own has none. Label changes nothing and returns false
// when b cannot have another mark: the caller then begins another batch.
func (b *Batch) Label(l Labels) bool {
	if l.Host == b.Host {
		l.Host = ""
	}
	if l.Source == b.Source {
		l.Source = ""
	}
	marks, now := b.Marks, new(Labels)
	if last := len(marks) - 1; last >= 0 && marks[last].Text == len(b.Text) {
		marks = marks[:last] // no line has had these labels
	}
	if last := len(marks) - 1; last >= 0 {
		now = &marks[last].Labels
	}
	if l.equal(now) {
		b.Marks = marks
		return true
	}
	if len(marks) >= MaxMarks {
		return false
	}
	b.Marks = append(marks, Mark{Text: len(b.Text), Labels: l})
	return true
}

// DropHosts removes the hosts of marks: all lines then have the batch's own.
func (b *Batch) DropHosts() {
	for i := range b.Marks {
		b.Marks[i].Labels.Host = ""
	}
}

// MaxSkew is how far an agent's clock may be from the collector's.
const MaxSkew = time.Minute

// CorrectTime makes now the time when b was read, if the time that its sender gives
// is further away than MaxSkew. Lines without a time of their own still show the
// sender's.
func (b *Batch) CorrectTime(now time.Time) {
	sent := time.UnixMicro(b.Time)
	if b.Op != OpData || sent.Sub(now).Abs() <= MaxSkew {
		return
	}
	b.Time = now.UnixMicro()
	if own := (Labels{Time: sent}); own.check() != nil {
		return // the log cannot show it
	}
	for i := range b.Marks {
		if l := &b.Marks[i].Labels; l.Time.IsZero() {
			l.Time = sent
		}
	}
	begins := len(b.Marks) > 0 && b.Marks[0].Text == 0
	if !begins && len(b.Marks) < MaxMarks && len(b.Text)+b.LabelBytes()+MarkBytes <= MaxText {
		b.Marks = slices.Insert(b.Marks, 0, Mark{Labels: Labels{Time: sent}})
	}
}

// Runs is the text of b in pieces whose lines have the same labels, with the
// batch's own host and source where a mark names none.
func (b *Batch) Runs() iter.Seq2[Labels, []byte] {
	return func(yield func(Labels, []byte) bool) {
		now, at := Labels{Host: b.Host, Source: b.Source}, 0
		for _, m := range append(slices.Clip(b.Marks), Mark{Text: len(b.Text)}) {
			if m.Text > at && !yield(now, b.Text[at:m.Text]) {
				return
			}
			now, at = m.Labels, m.Text
			now.Host, now.Source = cmp.Or(now.Host, b.Host), cmp.Or(now.Source, b.Source)
		}
	}
}

// Divide divides b at its cut i. The second part begins with the labels that are in
// force there.
func (b *Batch) Divide(i int) (head, rest Batch) {
	c := b.Cuts[i]
	head, rest = *b, *b
	head.Text, head.Cuts, head.End, head.After = b.Text[:c.Text], b.Cuts[:i], c.End, c.After
	rest.Text, rest.Cuts, rest.Offset, rest.Before = b.Text[c.Text:], nil, c.End, c.After
	for _, x := range b.Cuts[i+1:] {
		x.Text -= c.Text
		rest.Cuts = append(rest.Cuts, x)
	}
	behind := slices.IndexFunc(b.Marks, func(m Mark) bool { return m.Text > c.Text })
	if behind < 0 {
		behind = len(b.Marks)
	}
	rest.Marks = slices.Clone(b.Marks[max(behind-1, 0):])
	for j := range rest.Marks {
		rest.Marks[j].Text = max(rest.Marks[j].Text-c.Text, 0)
	}
	if ahead := slices.IndexFunc(b.Marks, func(m Mark) bool { return m.Text >= c.Text }); ahead >= 0 {
		head.Marks = b.Marks[:ahead]
	}
	return head, rest
}
