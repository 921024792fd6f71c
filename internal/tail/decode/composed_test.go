package decode

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"fanin/internal/wire"
)

// podLine is a line of a container's log, or what there is of it.
type podLine struct {
	stream int
	at     time.Duration
	text   string
}

// podLog makes a container's log of one byte for each record: its stream, whether the line
// goes on, whether it is a first line, and whether it comes three seconds later. It returns
// the log, and its lines in the order in which they end.
func podLog(plan []byte) (raw string, all []podLine) {
	var b strings.Builder
	at := time.Duration(0)
	var open [2]*podLine
	var order []int
	for i, p := range plan {
		stream, goesOn := int(p&1), p&2 > 0
		text := fmt.Sprintf("\tat %d", i)
		if p&4 > 0 {
			text = fmt.Sprintf("2026-%d", i)
		}
		if at += time.Millisecond; p&8 > 0 {
			at += 3 * time.Second
		}
		shown := time.Unix(1_700_000_000, 0).Add(at).UTC().Format(time.RFC3339Nano)
		fmt.Fprintf(&b, "%s %s %s %s\n", shown, []string{"stdout", "stderr"}[stream], []string{"F", "P"}[p>>1&1], text)
		if open[stream] == nil {
			open[stream] = &podLine{stream: stream, at: at}
			order = append(order, stream)
		}
		if open[stream].text += text; !goesOn {
			all, open[stream] = append(all, *open[stream]), nil
			order = slices.DeleteFunc(order, func(s int) bool { return s == stream })
		}
	}
	for _, stream := range order {
		all = append(all, *open[stream])
	}
	return b.String(), all
}

// podRecords is the reference: the records of lines, each in its stream.
func podRecords(m *Multiline, all []podLine) (records []string) {
	type last struct {
		record, lines, bytes int
		at                   time.Duration
	}
	var of [2]*last
	for _, l := range all {
		r := of[l.stream]
		size := written([]byte(l.text))
		if r == nil || m.First.MatchString(l.text) || l.at-r.at >= m.Timeout || r.lines >= m.MaxLines || r.bytes+size > m.MaxBytes {
			of[l.stream] = &last{record: len(records), lines: 1, bytes: size, at: l.at}
			records = append(records, l.text)
			continue
		}
		records[r.record] += "\n" + l.text
		r.lines, r.bytes, r.at = r.lines+1, r.bytes+size, l.at
	}
	return records
}

func checkPod(t *testing.T, plan []byte, maxLines, block, largest int) {
	t.Helper()
	m := multiline(CRI{})
	m.MaxLines = maxLines
	raw, all := podLog(plan)
	got, at := run(t, m, []byte(raw), true, block, largest, wire.MaxLine)
	if want := podRecords(m, all); !slices.Equal(got, want) || at != len(raw) {
		t.Fatalf("%x in blocks of %d:\n got %q\nwant %q\n%s", plan, block, got, want, raw)
	}
}

// TestComposed: the records of a container's streams, interleaved in every way that a few
// records can be, and at random.
func TestComposed(t *testing.T) {
	for length := range 5 {
		plan := make([]byte, length)
		for n := range 1 << (3 * length) {
			for i := range plan {
				plan[i] = byte(n>>(3*i)) & 7
			}
			checkPod(t, plan, 500, 1<<10, 1<<20)
		}
	}
	rnd := rand.New(rand.NewSource(1))
	for range 80 {
		plan := make([]byte, rnd.Intn(200))
		for i := range plan {
			if plan[i] = byte(rnd.Intn(16)); rnd.Intn(8) > 0 {
				plan[i] &^= 8
			}
		}
		checkPod(t, plan, 2+rnd.Intn(20), 1<<10, 1<<20)
	}
}

// TestComposedBusy: two streams that never rest at the same time are sent all the same:
// records are divided where there is too much between two places, and no line is lost.
func TestComposedBusy(t *testing.T) {
	plan := make([]byte, 12_000)
	for i := range plan {
		plan[i] = []byte{0, 1, 4, 1, 0, 5}[i%6] // each record begins inside one of the other stream
	}
	raw, all := podLog(plan)
	for _, largest := range []int{64 << 10, 1 << 20} {
		got, at := run(t, multiline(CRI{}), []byte(raw), true, 16<<10, largest, 32<<10)
		var lines []string
		for _, record := range got {
			lines = append(lines, strings.Split(record, "\n")...)
		}
		slices.Sort(lines)
		var want []string
		for _, l := range all {
			want = append(want, l.text)
		}
		slices.Sort(want)
		if !slices.Equal(lines, want) || at != len(raw) || len(got) > len(all)*9/10 {
			t.Errorf("largest %d: %d lines in %d records, want %d lines; %d of %d bytes", largest, len(lines), len(got), len(want), at, len(raw))
		}
	}
}

func FuzzComposed(f *testing.F) {
	f.Add([]byte{5, 0, 1, 4, 3, 1, 9}, uint8(3))
	f.Add([]byte{4, 5, 0, 1, 4, 5}, uint8(0))
	f.Fuzz(func(t *testing.T, plan []byte, maxLines uint8) {
		checkPod(t, plan[:min(len(plan), 1000)], 1+int(maxLines), 1<<10, 1<<20)
	})
}

// BenchmarkDecode decodes blocks of lines of about 100 bytes in each format.
func BenchmarkDecode(b *testing.B) {
	line := "2026-11-26T03:00:00.000000001Z stdout F " + strings.Repeat("x", 60) + "\n"
	for name, d := range map[string]Decoder{
		"plain": Plain{}, "cri": CRI{}, "utf-16": UTF16{}, "records": multiline(Plain{}), "records of cri": multiline(CRI{}),
	} {
		b.Run(name, func(b *testing.B) {
			block := make([]byte, d.Scale()<<20)
			window := d.Window(block)
			text := []byte(strings.Repeat(line, 1<<20/len(line)))
			if _, wide := d.(UTF16); wide {
				text = inUTF16(UTF16{}, string(text))
			}
			n := copy(window, text)
			count := 0
			for b.Loop() {
				for at := 0; at < n; {
					out := d.Decode(Input{Block: block, Raw: window[at:n], Offset: 2, End: true, MaxLine: wire.MaxLine})
					if out.Raw == 0 {
						break
					}
					at, count = at+out.Raw, count+len(out.Text)/(len(line)/2)
					if at < n {
						n = copy(window, window[at:n])
						at = 0
					}
				}
				n = copy(window, text)
			}
		})
	}
}
