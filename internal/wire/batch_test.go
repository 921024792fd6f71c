package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestStreamID(t *testing.T) {
	a, b := NewStreamID(), NewStreamID()
	if a == b || a.IsZero() || !(StreamID{}).IsZero() {
		t.Errorf("ids %s and %s", a, b)
	}
	if got, err := ParseStreamID(a.String()); err != nil || got != a {
		t.Errorf("%s reads back as %s, %v", a, got, err)
	}
	for _, s := range []string{"", "00", strings.Repeat("0", 31), strings.Repeat("0", 34), strings.Repeat("g", 32)} {
		if _, err := ParseStreamID(s); err == nil {
			t.Errorf("%q is taken for an id", s)
		}
	}
}

func TestTailHash(t *testing.T) {
	long := bytes.Repeat([]byte("0123456789abcdef"), 1000)
	if TailHash(nil) != 0 || TailHash(long) != TailHash(long[len(long)-TailSize:]) || TailHash(long) == TailHash(long[1:len(long)-1]) {
		t.Error("the hash is not that of the last 4 KiB")
	}
	// sha256 of "abc" begins ba7816bf 8f01cfea: both sides, for ever.
	if got := TailHash([]byte("abc")); got != 0xba7816bf8f01cfea {
		t.Errorf("%x", got)
	}
}

func fit() Batch {
	return Batch{Stream: id(1), Offset: 10, End: 30, Text: []byte("a line\nanother\n"), Cuts: []Cut{{Text: 7, End: 20}}}
}

func TestCheck(t *testing.T) {
	name, long := strings.Repeat("n", MaxName), strings.Repeat("n", MaxName+1)
	huge := append(bytes.Repeat([]byte{'x'}, MaxText-1), '\n')
	f := func(what string, fits bool, change func(b *Batch)) {
		t.Helper()
		b := fit()
		change(&b)
		err := b.Check()
		if fits && err != nil {
			t.Errorf("%s: %v, want nil", what, err)
		}
		var r *Refused
		if !fits && (!errors.Is(err, ErrRefused) || !errors.As(err, &r) || r.Reason == "" || len(r.Reason) > MaxName) {
			t.Errorf("%s: %v, want ErrRefused with a reason", what, err)
		}
	}
	op := func(op Op, end int64) func(b *Batch) {
		return func(b *Batch) { b.Op, b.End, b.Text, b.Cuts = op, end, nil, nil }
	}
	f("data", true, func(b *Batch) {})
	f("anonymous data", true, func(b *Batch) { *b = Batch{Text: []byte("line\n")} })
	f("lossy data", true, func(b *Batch) { b.Kind, b.Cuts = StreamLossy, nil })
	f("one empty line", true, func(b *Batch) { b.Text, b.Cuts = []byte("\n"), nil })
	f("the longest names", true, func(b *Batch) { b.Agent, b.Host, b.Source, b.Reason = name, name, name, name })
	f("the longest text", true, func(b *Batch) { b.Text, b.Cuts = huge, nil })
	f("open", true, op(OpOpen, 10))
	f("skip", true, op(OpSkip, 30))
	f("an empty skip", true, op(OpSkip, 10))
	f("end", true, op(OpEnd, 10))

	f("an operation unheard", false, op(OpEnd+1, 10))
	f("open without a stream", false, func(b *Batch) { op(OpOpen, 10)(b); b.Stream = StreamID{} })
	f("skip with text", false, func(b *Batch) { b.Op = OpSkip })
	f("the collector's own source", false, func(b *Batch) { b.Source = SourceNotice })
	f("open over bytes", false, op(OpOpen, 11))
	f("end over bytes", false, op(OpEnd, 11))
	f("a negative offset", false, func(b *Batch) { b.Offset = -1 })
	f("offsets backwards", false, func(b *Batch) { b.End = 9 })
	f("a negative number of lines", false, func(b *Batch) { b.FirstLine = -1 })
	f("text of no bytes", false, func(b *Batch) { b.End, b.Cuts = b.Offset, nil })
	f("a long agent", false, func(b *Batch) { b.Agent = long })
	f("a long host", false, func(b *Batch) { b.Host = long })
	f("a long source", false, func(b *Batch) { b.Source = long })
	f("a long reason", false, func(b *Batch) { b.Reason = long })
	f("a long identity", false, func(b *Batch) { b.Identity = make([]byte, MaxIdentity+1) })
	f("no text", false, func(b *Batch) { b.Text, b.Cuts = nil, nil })
	f("too much text", false, func(b *Batch) { b.Text = append(huge, '\n') })
	f("no newline at the end", false, func(b *Batch) { b.Text = b.Text[:14] })
	f("a cut at the beginning", false, func(b *Batch) { b.Cuts[0].Text = 0 })
	f("a cut before it", false, func(b *Batch) { b.Cuts[0].Text = -1 })
	f("a cut at the end", false, func(b *Batch) { b.Cuts[0].Text = 15 })
	f("a cut far behind", false, func(b *Batch) { b.Cuts[0].Text = 1 << 40 })
	f("a cut within a line", false, func(b *Batch) { b.Cuts[0].Text = 8 })
	f("a cut where the batch begins", false, func(b *Batch) { b.Cuts[0].End = 10 })
	f("a cut where the batch ends", false, func(b *Batch) { b.Cuts[0].End = 30 })
	f("the same cut twice", false, func(b *Batch) { b.Cuts = append(b.Cuts, b.Cuts[0]) })
	f("cuts in disorder", false, func(b *Batch) { b.Text = []byte("1\n2\n3\n"); b.Cuts = []Cut{{Text: 4, End: 14}, {Text: 2, End: 15}} })
	marks := func(m ...Mark) func(b *Batch) { return func(b *Batch) { b.Marks = m } }
	f("marks for each line", true, marks(Mark{0, Labels{Host: "web-1:2", Source: "app/x", Time: time.Unix(1, 0), Attributes: "\x01k\x01\x00v"}}, Mark{7, Labels{Source: "y"}}))
	f("attributes that end early", false, marks(Mark{0, Labels{Attributes: "\x01k\x02\x00v"}}))
	f("attributes with half a head", false, marks(Mark{0, Labels{Attributes: "\x01k\x02"}}))
	f("an attribute without a name", false, marks(Mark{0, Labels{Attributes: "\x00\x01\x00v"}}))
	f("an attribute with a quote in its name", false, marks(Mark{0, Labels{Attributes: "\x01\"\x01\x00v"}}))
	f("attributes of too many bytes", false, marks(Mark{0, Labels{Attributes: Attributes("\x01k\xff\xff" + strings.Repeat("v", 1<<16-1))}}))
	f("a mark before the text", false, marks(Mark{Text: -1}))
	f("a mark at the end", false, marks(Mark{Text: 15}))
	f("a mark within a line", false, marks(Mark{Text: 8}))
	f("the same mark twice", false, marks(Mark{Text: 7}, Mark{Text: 7}))
	f("marks in disorder", false, marks(Mark{Text: 7}, Mark{Text: 0}))
	f("marks without text", false, func(b *Batch) { op(OpOpen, 10)(b); b.Marks = []Mark{{}} })
	f("the collector's own source inside", false, marks(Mark{7, Labels{Source: SourceNotice}}))
	f("a source with a colon inside", false, marks(Mark{7, Labels{Source: "a:b"}}))
	f("a host with a newline inside", false, marks(Mark{7, Labels{Host: "a\nb"}}))
	f("a long host inside", false, marks(Mark{7, Labels{Host: long}}))
	f("a long source inside", false, marks(Mark{7, Labels{Source: long}}))
	f("a time before all years", false, marks(Mark{7, Labels{Time: time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)}}))
	f("a time of five digits", false, marks(Mark{7, Labels{Time: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}}))
	many := func(n int) func(b *Batch) {
		return func(b *Batch) {
			b.Text, b.Cuts = bytes.Repeat([]byte("\n"), n), nil
			for i := range n {
				b.Marks = append(b.Marks, Mark{Text: i})
			}
		}
	}
	f("as many marks as allowed", true, many(MaxMarks))
	f("too many marks", false, many(MaxMarks+1))
	f("cuts at one offset", false, func(b *Batch) { b.Text = []byte("1\n2\n3\n"); b.Cuts = []Cut{{Text: 2, End: 14}, {Text: 4, End: 14}} })
}

// refusedBySort is an error of another package that says to be an ErrRefused.
type refusedBySort struct{}

func (refusedBySort) Error() string        { return "no such table" }
func (refusedBySort) Is(target error) bool { return target == ErrRefused }

// What Append returned must mean the same at the other end of a connection.
func TestAnswerTo(t *testing.T) {
	expected := &Expected{Known: true, Watermark: Watermark{Epoch: 3, Point: Point{99, 7}, Trail: []Point{{5, 6}}}}
	for name, c := range map[string]struct {
		err  error
		kind Kind
	}{
		"nil":                 {nil, KindAck},
		"expected":            {expected, KindNack},
		"expected, wrapped":   {fmt.Errorf("stream: %w", expected), KindNack},
		"unknown":             {&Expected{}, KindNack},
		"refused":             {&Refused{"the text is too long"}, KindRefuse},
		"refused, wrapped":    {fmt.Errorf("append: %w", &Refused{"no"}), KindRefuse},
		"refused, plainly":    {ErrRefused, KindRefuse},
		"refused, its own":    {refusedBySort{}, KindRefuse},
		"draining":            {ErrDraining, KindLater},
		"given up":            {context.Canceled, KindLater},
		"an error of a novel": {errors.New(strings.Repeat("and then ", 1000)), KindLater},
	} {
		a := AnswerTo(id(1), c.err)
		if a.Kind != c.kind || a.Stream != id(1) || len(a.Reason) > MaxName {
			t.Errorf("%s: %+v, want kind %d", name, a, c.kind)
		}
		var f Frame
		if err := NewDecoder(bytes.NewReader(AppendAnswer(nil, a))).Next(&f); err != nil {
			t.Fatal(name, err)
		}
		got := f.Answer.Err()
		var e *Expected
		if (got == nil) != (c.err == nil) || errors.Is(got, ErrRefused) != errors.Is(c.err, ErrRefused) || errors.As(got, &e) != errors.As(c.err, &e) {
			t.Errorf("%s: %v is %v on the other side", name, c.err, got)
		}
	}
	var e *Expected
	if a := AnswerTo(id(1), expected); !errors.As(a.Err(), &e) || e == &a.Expected || e.Offset != 99 || len(e.Trail) != 1 {
		t.Errorf("%+v", e)
	}
	later := AnswerTo(id(1), ErrDraining).Err()
	if later == nil || !strings.Contains(later.Error(), "shutting down") {
		t.Errorf("%v: the reason is lost", later)
	}
}

func TestErrorsSayWhat(t *testing.T) {
	for err, want := range map[error]string{
		&Expected{}: "stream unknown: open it first",
		&Expected{Known: true, Watermark: Watermark{Epoch: 1, Point: Point{Offset: 5}}}: "the stream is at epoch 1, offset 5",
		&Refused{"too long"}: "refused: too long",
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
}
