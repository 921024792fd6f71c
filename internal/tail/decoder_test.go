package tail

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"slices"
	"strings"
	"testing"

	"fanin/internal/lines"
	"fanin/internal/tail/decode"
	"fanin/internal/wire"
)

// toy is a decoder of records "LABEL FLAG HEX\n": the text is hexadecimal, flag P says
// that the line goes on in the label's next record, F that it ends. So text is shorter
// than its raw bytes, lines have labels, and those of one label stand between the
// parts of another one's.
type toy struct{}

// toyRecord is one record. end is where it ends in the bytes that it was read from.
type toyRecord struct {
	label string
	open  bool
	text  []byte
	end   int
}

// toyRecords reads the whole records in raw, which may begin within one.
func toyRecords(raw []byte, whole bool) (all []toyRecord) {
	at := 0
	if !whole {
		at = bytes.IndexByte(raw, '\n') + 1
	}
	for {
		n := bytes.IndexByte(raw[at:], '\n') + 1
		if n == 0 {
			return all
		}
		fields := strings.Split(string(raw[at:at+n-1]), " ")
		text, _ := hex.DecodeString(fields[2])
		at += n
		all = append(all, toyRecord{label: fields[0], open: fields[1] == "P", text: text, end: at})
	}
}

func (toy) Scale() int { return 1 }

func (toy) Window(block []byte) []byte { return block[len(block)/2:] }

func (toy) LineStart(raw []byte, offset int64) int {
	last := -1
	if offset == 0 {
		last = 0
	}
	open := make(map[string]bool)
	for _, r := range toyRecords(raw, offset == 0) {
		if open[r.label] = r.open; !r.open {
			delete(open, r.label)
		}
		if len(open) == 0 {
			last = r.end
		}
	}
	return last
}

// toyLine is a line, or what there is of it.
type toyLine struct {
	label string
	text  []byte
	inner bool // a part of it was yielded
}

// append adds the line, or the part of it that there is, to a batch.
func (l *toyLine) append(b *wire.Batch, maxLine int, mark string) {
	text := string(l.text) + mark + "\n"
	if l.inner {
		text = wire.SplitGoesOn + text
	}
	b.Label(wire.Labels{Source: l.label}) // of so many records as fit a test's block, a few
	b.Text, _ = lines.Split(b.Text, []byte(text), maxLine)
}

func (toy) Decode(in decode.Input) (out decode.Lines) {
	var order []*toyLine // open ones
	if in.Inside {
		last := make(map[string]bool)
		for _, r := range toyRecords(in.Before, in.Offset == int64(len(in.Before))) {
			last[r.label] = r.open
		}
		for _, label := range []string{"e", "o"} {
			if last[label] {
				order = append(order, &toyLine{label: label, inner: true})
			}
		}
	}
	all, end := wire.Batch{Text: in.Block[: 0 : len(in.Block)/2]}, 0
	for _, r := range toyRecords(in.Raw, true) {
		i := slices.IndexFunc(order, func(l *toyLine) bool { return l.label == r.label })
		if i < 0 {
			i = len(order)
			order = append(order, &toyLine{label: r.label})
		}
		order[i].text = append(order[i].text, r.text...)
		if end = r.end; r.open {
			continue
		}
		order[i].append(&all, in.MaxLine, "")
		if order = slices.Delete(order, i, i+1); len(order) == 0 {
			out.Cuts = append(out.Cuts, decode.Place{Text: len(all.Text), Raw: end})
		}
	}
	if n := len(out.Cuts); n > 0 { // the last one is the next place
		out.Text, out.Raw, out.Cuts = all.Text[:out.Cuts[n-1].Text], out.Cuts[n-1].Raw, out.Cuts[:n-1]
		out.Marks = slices.DeleteFunc(all.Marks, func(m wire.Mark) bool { return m.Text >= len(out.Text) })
		return out
	}
	if end == 0 || !in.End && !in.Limit {
		return decode.Lines{}
	}
	mark := wire.SplitMark
	if in.End {
		mark = ""
	}
	for _, l := range order {
		if len(l.text) > 0 {
			l.append(&all, in.MaxLine, mark)
		}
	}
	open := !in.End && len(order) > 0
	return decode.Lines{Text: all.Text, Marks: all.Marks, Raw: end, Inside: open, Split: open}
}

// toyFile makes a file of records, and the lines in it in the order in which they end.
func toyFile(seed int64, records int) (raw string, want []string) {
	rnd := rand.New(rand.NewSource(seed))
	var b strings.Builder
	part := make(map[string]string)
	for i := range records {
		label := []string{"o", "e"}[rnd.Intn(2)]
		text := fmt.Sprintf("%d%s", i, strings.Repeat("x", rnd.Intn(5)))
		flag := "F"
		if rnd.Intn(3) == 0 && i < records-2 || i == records-3 {
			flag = "P"
		}
		if i >= records-2 { // ends what is open
			label = []string{"o", "e"}[i-records+2]
		}
		fmt.Fprintf(&b, "%s %s %x\n", label, flag, text)
		if part[label] += text; flag == "F" {
			want = append(want, label+":"+part[label])
			delete(part, label)
		}
	}
	return b.String(), want
}

// readAll reads the lines from c on until none is complete, in blocks from 64 bytes to
// largest, and holds each cut to what a decoder that begins there yields.
func readAll(t *testing.T, f *file, c cursor, largest int) (got []string, to cursor) {
	t.Helper()
	for size := 64; ; {
		block := make([]byte, size)
		r, err := f.readBatch(c, block, limits{line: 1 << 10, block: largest}, false, -1)
		switch {
		case err != nil:
			t.Fatal(err)
		case len(r.text) == 0 && r.short && size < largest:
			size *= 2
			continue
		case len(r.text) == 0:
			return got, c
		}
		for _, cut := range r.cuts {
			again, err := f.cursorAt(cut.End, 0)
			if err != nil || again.Tail != cut.After {
				t.Fatalf("the hash of a cut at %d is not that of the bytes before it: %v", cut.End, err)
			}
			rest, err := f.readBatch(again, make([]byte, largest), limits{line: 1 << 10, block: largest}, false, -1)
			if err != nil || !bytes.HasPrefix(rest.text, r.text[cut.Text:]) {
				t.Fatalf("behind the cut at %d a decoder yields %q, want %q: %v", cut.End, rest.text, r.text[cut.Text:], err)
			}
		}
		kept := collector{labels: true}
		kept.keep(&wire.Batch{Text: r.text, Marks: r.marks})
		got = append(got, kept.order...)
		c = r.to
	}
}

// join makes the lines of divided ones again, in the order in which they begin.
func join(got []string) (whole []string) {
	open := make(map[string]int)
	for _, line := range got {
		label, rest, _ := strings.Cut(line, ":")
		rest, goesOn := strings.CutPrefix(rest, wire.SplitGoesOn)
		rest, more := strings.CutSuffix(rest, wire.SplitMark)
		if i, ok := open[label]; ok && goesOn {
			whole[i] += rest
		} else {
			open[label] = len(whole)
			whole = append(whole, label+":"+rest)
		}
		if !more {
			delete(open, label)
		}
	}
	return whole
}

// TestDecoderKilledAtEveryByte: the reader is killed at each byte of a growing file and
// resumes, with nothing but the offset, when the file has the rest. No line is lost,
// doubled, torn or out of order, whether lines that do not fit are held back or
// divided.
func TestDecoderKilledAtEveryByte(t *testing.T) {
	for _, largest := range []int{64, 256, 64 << 10} {
		raw, want := toyFile(int64(largest), 60)
		f := openTest(t, nil)
		f.decoder = toy{}
		path := f.f.path
		for killed := range len(raw) + 1 {
			write := func(text string) {
				if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
					t.Fatal(err)
				}
			}
			write(raw[:killed])
			before, at := readAll(t, f, cursor{}, largest)
			write(raw)
			c, err := f.cursorAt(at.Offset, 0)
			if err != nil || c.Point != at.Point || c.inside != at.inside {
				t.Fatalf("killed at %d: the place is %+v, was %+v: %v", killed, c, at, err)
			}
			after, _ := readAll(t, f, c, largest)
			got := append(before, after...)
			if largest < 64<<10 {
				got, want = slices.Sorted(slices.Values(join(got))), slices.Sorted(slices.Values(want))
			}
			if !slices.Equal(got, want) {
				t.Fatalf("largest block %d, killed at %d of %d: %q, want %q", largest, killed, len(raw), got, want)
			}
		}
	}
}

// TestFollowsWithDecoder: the same with a follower, a collector that loses answers,
// and a state that is lost at every second kill. The stream's place is always one
// where a fresh decoder can begin.
func TestFollowsWithDecoder(t *testing.T) {
	raw, want := toyFile(7, 30)
	r := newRig(t)
	r.change = func(t *Tailer) { t.Tables[0].Decoder = toy{} }
	r.collector.labels = true
	n := 0
	r.collector.failing = func(wire.Batch) error {
		if n++; n%3 == 0 {
			return errors.New("the answer was lost")
		}
		return nil
	}
	step := 1
	if testing.Short() {
		step = 7
	}
	for at := 0; at < len(raw); at += step {
		if at%2 == 0 {
			r.state = t.TempDir()
		}
		r.append("a.log", raw[at:min(at+step, len(raw))]).run()
		place := max(0, toy{}.LineStart([]byte(raw[:min(at+step, len(raw))]), 0))
		r.await(func() bool {
			list := r.tailer.Status()
			return len(list) == 1 && list[0].Agreed && list[0].Acked == int64(place)
		})
		r.halt()
	}
	if got := r.collector.order; !slices.Equal(got, want) {
		t.Errorf("accepted: %q, want %q", got, want)
	}
}
