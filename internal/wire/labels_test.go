package wire

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// described is each line of b with its labels.
func described(b *Batch) (lines []string) {
	for l, text := range b.Runs() {
		for line := range bytes.Lines(text) {
			lines = append(lines, fmt.Sprintf("%s %s %v %q %s", l.Host, l.Source, l.Time.UnixMicro(), l.Attributes, line))
		}
	}
	return lines
}

// TestLabel: neighbours with equal labels share a mark, and what the batch says
// itself needs none.
func TestLabel(t *testing.T) {
	b := Batch{Host: "h", Source: "s"}
	var want []string
	add := func(l Labels, marks int) {
		t.Helper()
		line := fmt.Sprintf("line %d\n", len(want))
		if !b.Label(l) || len(b.Marks) != marks {
			t.Fatalf("%v makes the marks %v", l, b.Marks)
		}
		b.Text = append(b.Text, line...)
		if l.Host == "" {
			l.Host = "h"
		}
		if l.Source == "" {
			l.Source = "s"
		}
		want = append(want, fmt.Sprintf("%s %s %v %q %s", l.Host, l.Source, l.Time.UnixMicro(), l.Attributes, line))
	}
	noon := time.Unix(1763830800, 0)
	add(Labels{}, 0)
	add(Labels{Host: "h"}, 0)
	add(Labels{Source: "s"}, 0)
	add(Labels{Source: "x"}, 1)
	add(Labels{Source: "x", Host: "h"}, 1)
	add(Labels{Source: "x", Time: noon}, 2)
	add(Labels{Source: "x", Time: noon.UTC()}, 2)
	b.Label(Labels{Source: "no line has it"})
	add(Labels{Source: "x", Time: noon}, 2)
	b.Label(Labels{Source: "no line has it"})
	add(Labels{}, 3)
	add(Labels{Host: "other"}, 4)
	add(Labels{Host: "other", Attributes: "\x01k\x01\x00v"}, 5)
	add(Labels{Host: "other", Attributes: "\x01k\x01\x00v"}, 5)
	add(Labels{Host: "other", Attributes: "\x01k\x01\x00w"}, 6)
	if got := described(&b); !slices.Equal(got, want) {
		t.Errorf("labels\n%s\nwant\n%s", strings.Join(got, ""), strings.Join(want, ""))
	}
	if err := b.Check(); err != nil {
		t.Error(err)
	}
}

// TestLabelFull: a batch has a bounded number of marks.
func TestLabelFull(t *testing.T) {
	b := Batch{Source: "s"}
	n := 0
	for b.Label(Labels{Time: time.UnixMicro(int64(n + 1))}) {
		b.Text = append(b.Text, '\n')
		n++
	}
	if n != MaxMarks || b.Check() != nil {
		t.Errorf("%d marks, %v", n, b.Check())
	}
	if !b.Label(Labels{Time: time.UnixMicro(int64(n))}) {
		t.Error("equal labels need no mark")
	}
}

// TestDivide: the lines of both parts have the labels and offsets that they had in
// the whole, wherever cuts and marks are.
func TestDivide(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		b := Batch{Stream: StreamID{1}, Host: "h", Source: "s", Offset: 5}
		for i := range 1 + r.IntN(8) {
			if i > 0 && r.IntN(2) == 0 {
				b.Cuts = append(b.Cuts, Cut{Text: len(b.Text), End: b.End, After: Hash(i)})
			}
			if r.IntN(2) == 0 {
				b.Label(Labels{Source: fmt.Sprint(r.IntN(3))})
			}
			b.Text = append(b.Text, "line\n"...)
			b.End = 5 + int64(len(b.Text))
		}
		want := described(&b)
		for i := range b.Cuts {
			head, rest := b.Divide(i)
			if head.Check() != nil || rest.Check() != nil || head.End != rest.Offset || head.After != rest.Before || rest.End != b.End {
				t.Fatalf("%+v at cut %d makes %+v (%v) and %+v (%v)", b, i, head, head.Check(), rest, rest.Check())
			}
			if got := append(described(&head), described(&rest)...); !slices.Equal(got, want) {
				t.Fatalf("%+v at cut %d makes %+v and %+v", b, i, head, rest)
			}
			if len(head.Cuts)+len(rest.Cuts)+1 != len(b.Cuts) {
				t.Fatalf("the cuts %v become %v and %v", b.Cuts, head.Cuts, rest.Cuts)
			}
		}
	}
}

func TestCleanNames(t *testing.T) {
	for name, want := range map[string][2]string{
		"":                 {"", ""},
		"web-1.a:80":       {"web-1.a:80", "web-1.a_80"},
		"a b\n\x1bé":       {"a_b____", "a_b____"},
		"fe80::1":          {"fe80::1", "fe80__1"},
		"a: b\nc\x1b":      {"a:_b_c_", "a__b_c_"},
		SourceNotice:       {SourceNotice, SourceNotice + "_"},
		"app[17]":          {"app_17_", "app[17]"},
		long(MaxName + 1):  {long(MaxName), long(MaxName)},
		"nats/Az09._/-{}~": {"nats/Az09._/-___", "nats/Az09._/-___"},
	} {
		l := Labels{Host: CleanHost(name), Source: CleanSource(name)}
		if l.Host != want[0] || l.Source != want[1] || l.check() != nil {
			t.Errorf("%q becomes %+v (%v), want %q", name, l, l.check(), want)
		}
	}
}

func long(n int) string { return strings.Repeat("n", n) }

// TestMarksTakeNoMemory: what a decoder holds of marks follows the bytes that came,
// also when the text never does.
func TestMarksTakeNoMemory(t *testing.T) {
	b := Batch{Stream: StreamID{1}, End: 9}
	for i := range MaxMarks {
		b.Marks = append(b.Marks, Mark{Text: i, Labels: Labels{Source: []string{"one name", "another"}[i%2]}})
	}
	frame := AppendBatch(nil, &b, 0, nil)
	if len(frame) > b.LabelBytes() {
		t.Errorf("a frame of %d bytes for labels of %d", len(frame), b.LabelBytes())
	}
	for _, n := range []int{100, 1000, 10_000, len(frame)} {
		d := NewDecoder(bytes.NewReader(frame[:n]))
		var f Frame
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		d.Next(&f)
		runtime.ReadMemStats(&after)
		if got, most := after.TotalAlloc-before.TotalAlloc, uint64(16<<10+28*n); got > most {
			t.Errorf("%d bytes allocated for the first %d of a frame, at most %d", got, n, most)
		}
	}
}

// TestLargestMarks: as many marks as allowed, with names as long as allowed, come as
// they went; a text that leaves no space for them is refused.
func TestLargestMarks(t *testing.T) {
	b := Batch{Stream: StreamID{1}, End: 1 << 40}
	for i := range MaxMarks {
		name := fmt.Sprintf("%0*d", MaxName, i)
		b.Label(Labels{Host: name, Source: name, Time: time.UnixMicro(int64(i))})
		b.Text = append(b.Text, '\n')
	}
	b.Text = append(b.Text, bytes.Repeat([]byte{'\n'}, MaxText-len(b.Text)-b.LabelBytes())...)
	if err := b.Check(); err != nil {
		t.Fatal(err)
	}
	var f Frame
	err := NewDecoder(bytes.NewReader(append(AppendBatch(nil, &b, 0, b.Text), b.Text...))).Next(&f)
	if err != nil || !slices.Equal(described(&f.Batch), described(&b)) {
		t.Errorf("%d marks, %v", len(f.Batch.Marks), err)
	}
	b.Text = append(b.Text, '\n')
	err = NewDecoder(bytes.NewReader(append(AppendBatch(nil, &b, 0, b.Text), b.Text...))).Next(&f)
	if !errors.Is(err, ErrProtocol) || !errors.Is(b.Check(), ErrRefused) {
		t.Errorf("text and labels beyond the limit: %v, %v", err, b.Check())
	}
}

// TestCorrectTime: a sender whose clock is wrong does not decide where its lines are
// found, and they show its time nevertheless.
func TestCorrectTime(t *testing.T) {
	now := time.Unix(1763830800, 0)
	full := func() (marks []Mark) {
		for i := range MaxMarks {
			marks = append(marks, Mark{Text: i + 1, Labels: Labels{Source: "x"}})
		}
		return marks
	}
	for name, test := range map[string]struct {
		off           time.Duration
		marks         []Mark
		first, second time.Duration // that the lines show, since now
	}{
		"a minute behind":      {-time.Minute, nil, -time.Minute, -time.Minute},
		"a minute ahead":       {time.Minute, nil, time.Minute, time.Minute},
		"further behind":       {-time.Minute - 1e3, nil, -time.Minute - 1e3, -time.Minute - 1e3},
		"further ahead":        {time.Hour, nil, time.Hour, time.Hour},
		"a mark at the end":    {time.Hour, []Mark{{1, Labels{Source: "x"}}}, time.Hour, time.Hour},
		"a mark with a time":   {time.Hour, []Mark{{1, Labels{Time: now}}}, time.Hour, 0},
		"a mark at 0":          {time.Hour, []Mark{{0, Labels{Time: now}}}, 0, 0},
		"no space for another": {time.Hour, full(), 0, time.Hour},
		"250 years ahead":      {250 * 8760 * time.Hour, nil, 250 * 8760 * time.Hour, 250 * 8760 * time.Hour},
	} {
		b := Batch{Time: now.Add(test.off).UnixMicro(), Text: bytes.Repeat([]byte{'\n'}, MaxMarks+1), Marks: test.marks}
		b.CorrectTime(now)
		if read := time.UnixMicro(b.Time).Sub(now).Abs(); read > MaxSkew || b.Check() != nil {
			t.Errorf("%s: read at %v, %v", name, read, b.Check())
		}
		var shown []time.Duration
		for l, text := range b.Runs() {
			if l.Time.IsZero() {
				l.Time = time.UnixMicro(b.Time)
			}
			for range text {
				shown = append(shown, l.Time.Sub(now))
			}
		}
		if shown[0] != test.first || shown[1] != test.second {
			t.Errorf("%s: the lines show %v and %v, want %v and %v", name, shown[0], shown[1], test.first, test.second)
		}
	}
	b := Batch{Time: 1 << 62, Text: []byte("x\n")}
	if b.CorrectTime(now); b.Time != now.UnixMicro() || b.Marks != nil {
		t.Errorf("a time that the log cannot show: %+v", b)
	}
	b = Batch{Text: append(bytes.Repeat([]byte{'x'}, MaxText-1), '\n')}
	if b.CorrectTime(now); b.Check() != nil {
		t.Errorf("a text that leaves no space: %v", b.Check())
	}
}

// TestLabelsArePaid: the block of a text is so large that it counts for the labels too,
// and wherever a frame breaks off, every block is released.
func TestLabelsArePaid(t *testing.T) {
	b := Batch{Stream: StreamID{1}}
	for i := range 500 {
		b.Label(Labels{Source: fmt.Sprintf("source-%d", i)})
		b.Text = fmt.Appendf(b.Text, "%064x\n", sha256.Sum256([]byte{byte(i), byte(i >> 8)}))
	}
	b.End = int64(len(b.Text))
	packed := packedOf(t, b.Text)
	for name, whole := range map[string][]byte{
		"plain": append(AppendBatch(nil, &b, 0, b.Text), b.Text...),
		"zstd":  append(AppendBatch(nil, &b, 1, packed), packed...),
	} {
		for _, grows := range []bool{false, true} {
			for n := 0; n <= len(whole); n += max(1, min(777, len(whole)-n)) {
				out := 0
				d := NewDecoder(bytes.NewReader(whole[:n]))
				d.Zstd = unpacker(t)
				d.Room = func(n int) ([]byte, error) { out += n; return make([]byte, n), nil }
				d.Free = func(b []byte) { out -= cap(b) }
				if grows {
					d.Grow = func(have []byte, n int) ([]byte, error) {
						size := min(2*cap(have)+100, max(n, cap(have)+1))
						out += size - cap(have)
						return append(make([]byte, 0, size), have...)[:size], nil
					}
				}
				var f Frame
				err := d.Next(&f)
				if n < len(whole) && (err == nil || out != 0) {
					t.Fatalf("%s, grows %v: %d bytes of %d: %v, %d bytes were not released", name, grows, n, len(whole), err, out)
				}
				if n == len(whole) && (err != nil || !bytes.Equal(f.Batch.Text, b.Text) || cap(f.Batch.Text) < len(b.Text)+b.LabelBytes() || out != cap(f.Batch.Text)) {
					t.Fatalf("%s, grows %v: a block of %d bytes, %d are counted, %v", name, grows, cap(f.Batch.Text), out, err)
				}
			}
		}
	}
}

// A relayed line may be a notice of another log; no other line may.
func TestRelayedNotice(t *testing.T) {
	b := Batch{Host: "h", Source: "s", Text: []byte("a\n"), Marks: []Mark{{0, Labels{Host: "web", Source: SourceNotice}}}}
	if err := b.Check(); !errors.Is(err, ErrRefused) {
		t.Errorf("an agent's line that names the log's own source: %v", err)
	}
	b.Relayed = true
	if err := b.Check(); err != nil {
		t.Errorf("a relayed one: %v", err)
	}
	b.Marks[0].Labels.Host = "a b"
	if err := b.Check(); !errors.Is(err, ErrRefused) {
		t.Errorf("a relayed one with a host that is none: %v", err)
	}
}

// TestMarksInPieces: marks of which only the time is new, and all others between them, are read
// as they were written, in whatever pieces they come.
func TestMarksInPieces(t *testing.T) {
	at := time.UnixMicro(1795366800000001)
	var b Batch
	for i := range 3000 {
		l := Labels{Host: "web-1", Source: "app", Time: at.Add(time.Duration(i) * 997 * time.Second)}
		switch i % 50 {
		case 7:
			l.Time = time.Time{}
		case 8, 9:
			l.Source = "worker"
		case 10:
			l.Attributes = "\x08PRIORITY\x01\x003"
		}
		b.Marks = append(b.Marks, Mark{Text: 2 * i, Labels: l})
		b.Text = append(b.Text, 'x', '\n')
	}
	b.End = int64(len(b.Text))
	frame := append(AppendBatch(nil, &b, Plain, b.Text), b.Text...)
	pieces := map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "halves": iotest.HalfReader,
		"the end with the data": iotest.DataErrReader,
	}
	grow := func(have []byte, n int) ([]byte, error) {
		return append(make([]byte, 0, max(len(have)+1, min(n, max(4*len(have), 512)))), have...), nil
	}
	for name, in := range pieces {
		for _, grow := range []func([]byte, int) ([]byte, error){nil, grow} {
			d := NewDecoder(in(bytes.NewReader(frame)))
			d.Grow = grow
			var f Frame
			if err := d.Next(&f); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			same := func(x, y Mark) bool { return x.Text == y.Text && x.Labels.equal(&y.Labels) }
			if !slices.EqualFunc(f.Batch.Marks, b.Marks, same) {
				t.Errorf("%s: other marks", name)
			}
			if !bytes.Equal(f.Batch.Text, b.Text) {
				t.Errorf("%s: another text", name)
			}
		}
	}
}
