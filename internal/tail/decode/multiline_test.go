package decode

import (
	"bytes"
	"fmt"
	"math/rand"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"fanin/internal/lines"
	"fanin/internal/wire"
)

// dated begins with a year, as a record of the tests does.
var dated = regexp.MustCompile(`^\d{4}-`)

func multiline(of Decoder) *Multiline {
	return &Multiline{Of: of, First: dated, MaxLines: 500, MaxBytes: 1 << 20, Timeout: 2 * time.Second}
}

// recordsOf are the records in a decoded text.
func recordsOf(out *Lines) (all []string) {
	for line := range bytes.Lines(out.Text) {
		line = line[:len(line)-1]
		if out.Joined {
			line = wire.AppendRecordText(nil, line)
		}
		all = append(all, string(line))
	}
	return all
}

// run decodes raw in blocks of this size, which double up to largest while nothing is
// complete, as a follower's do. It returns the records, and stops where no more is.
func run(t *testing.T, d Decoder, raw []byte, end bool, block, largest, maxLine int) (all []string, at int) {
	t.Helper()
	inside, limit := false, false
	for size := block; at < len(raw); {
		b := make([]byte, size*d.Scale())
		window := d.Window(b)
		n := copy(window, raw[at:])
		before := bytes.Clone(window[:n])
		out := d.Decode(Input{Block: b, Raw: window[:n], Offset: int64(at), Before: raw[max(0, at-wire.TailSize):at],
			Inside: inside, End: end && at+n == len(raw), Limit: limit, MaxLine: maxLine})
		if len(out.Text) == 0 {
			if !out.Short && n < len(window) || limit {
				return all, at
			}
			limit, size = size >= largest, min(2*size, largest)
			continue
		}
		limit, size = false, block
		checkYield(t, &out, maxLine, n)
		if !bytes.Equal(before[:out.Raw], window[:out.Raw]) {
			t.Fatal("the raw bytes have changed")
		}
		all, at, inside = append(all, recordsOf(&out)...), at+out.Raw, out.Inside
	}
	return all, at
}

// checkYield holds what a decoder yields to what is promised of it.
func checkYield(t *testing.T, out *Lines, maxLine, n int) {
	t.Helper()
	if out.Raw <= 0 || out.Raw > n || out.Text[len(out.Text)-1] != '\n' {
		t.Fatalf("%d of %d raw bytes, text %.80q", out.Raw, n, out.Text)
	}
	for line := range bytes.Lines(out.Text) {
		if len(line) > maxLine+2 {
			t.Fatalf("a line has %d bytes, more than %d", len(line), maxLine)
		}
	}
	last := Place{}
	for _, p := range append(slices.Clip(out.Cuts), Place{len(out.Text), out.Raw}) {
		if p.Text <= last.Text || p.Raw <= last.Raw || out.Text[p.Text-1] != '\n' {
			t.Fatalf("cuts %v do not ascend, or are inside of lines", out.Cuts)
		}
		piece := out.Text[last.Text:p.Text]
		if n := lines.Count(piece); n > wire.MaxCutLines || n > 1 && len(piece) > wire.MaxCutText {
			t.Fatalf("a piece of %d bytes and %d lines without a cut", len(piece), n)
		}
		last = p
	}
	for i, m := range out.Marks {
		if m.Text >= len(out.Text) || i > 0 && m.Text <= out.Marks[i-1].Text || m.Text > 0 && out.Text[m.Text-1] != '\n' {
			t.Fatalf("mark %d at %d of %d", i, m.Text, len(out.Text))
		}
	}
}

// recordsIn is the reference: the records of plain text, line by line.
func recordsIn(m *Multiline, text string) (all []string) {
	count, size := 0, 0
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		trimmed := strings.TrimSuffix(line, "\r")
		more := written([]byte(trimmed))
		if len(all) == 0 || m.First.MatchString(trimmed) || count >= m.MaxLines || size+more > m.MaxBytes {
			all, count, size = append(all, line), 1, more
			continue
		}
		last := &all[len(all)-1]
		*last = strings.TrimSuffix(*last, "\r") + "\n" + line
		count, size = count+1, size+more
	}
	return all
}

// trace is some text with records of one line and of many.
func trace(seed int64, records int) string {
	rnd := rand.New(rand.NewSource(seed))
	var b strings.Builder
	for i := range records {
		fmt.Fprintf(&b, "2026-%04d request%s", i, []string{"\n", "\r\n"}[rnd.Intn(2)])
		for range max(0, rnd.Intn(12)-6) {
			fmt.Fprintf(&b, "\tat %s(\xc0\x8a)%s", strings.Repeat("x", rnd.Intn(60)), []string{"\n", "\r\n", "\n\n"}[rnd.Intn(3)])
		}
	}
	return b.String()
}

// TestMultiline: in whatever blocks text is read, and in UTF-16, its records are the
// same; the last one is open until something says that it is complete.
func TestMultiline(t *testing.T) {
	text := "\tbegins in the middle\n" + trace(1, 3000)
	for _, d := range []Decoder{Plain{}, UTF16{}, UTF16{BigEndian: true}} {
		raw := []byte(text)
		if u, ok := d.(UTF16); ok {
			raw = inUTF16(u, text)
		}
		want := recordsIn(multiline(nil), fromUTF16(d, raw))
		for _, block := range []int{1 << 10, 5000, 1 << 20} {
			got, at := run(t, multiline(d), raw, true, block, 1<<20, wire.MaxLine)
			if !slices.Equal(got, want) || at != len(raw) {
				t.Errorf("%T, block %d: %d records, want %d, at %d of %d", d, block, len(got), len(want), at, len(raw))
			}
			got, at = run(t, multiline(d), raw, false, block, 1<<20, wire.MaxLine)
			if !slices.Equal(got, want[:len(want)-1]) || at >= len(raw) {
				t.Errorf("%T, block %d: %d records of a text that may go on, want %d", d, block, len(got), len(want)-1)
			}
		}
	}
}

// TestMultilineBounds: a record ends at each bound, which is counted, and what follows it
// is another one.
func TestMultilineBounds(t *testing.T) {
	for name, change := range map[string]func(*Multiline){
		"lines": func(m *Multiline) { m.MaxLines = 3 },
		"one":   func(m *Multiline) { m.MaxLines = 1 },
		"bytes": func(m *Multiline) { m.MaxBytes = 100 },
		"all":   func(m *Multiline) { m.First = regexp.MustCompile(``) },
		"none":  func(m *Multiline) { m.First, m.MaxLines = regexp.MustCompile(`^\b$`), 1<<20 },
	} {
		m := multiline(Plain{})
		change(m)
		text := strings.ReplaceAll(trace(2, 2000), "\xc0", "!")
		want := recordsIn(m, text)
		got, _ := run(t, m, []byte(text), true, 16<<10, 1<<20, wire.MaxLine)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %d records, want %d", name, len(got), len(want))
		}
		if rejoined := strings.Join(got, "\n") + "\n"; strings.ReplaceAll(rejoined, "\r", "") != strings.ReplaceAll(text, "\r", "") {
			t.Errorf("%s: the records do not make the text", name)
		}
	}
	m := multiline(Plain{})
	m.MaxLines = 2
	b := make([]byte, 2<<10)
	raw := m.Window(b)
	n := copy(raw, "2026-1\n a\n b\n c\n d\n2026-2\n2026-3\n")
	out := m.Decode(Input{Block: b, Raw: raw[:n], MaxLine: 300})
	if out.Divided != 2 || len(recordsOf(&out)) != 4 {
		t.Errorf("%d divided, %q", out.Divided, recordsOf(&out))
	}
}

// TestMultilineTimeout: an open record is yielded when its source was silent for long
// enough, and not before. It says for how long to wait.
func TestMultilineTimeout(t *testing.T) {
	m := multiline(Plain{})
	decode := func(text string, quiet time.Duration) Lines {
		b := make([]byte, 1<<10)
		raw := m.Window(b)
		return m.Decode(Input{Block: b, Raw: raw[:copy(raw, text)], MaxLine: 300, Quiet: quiet})
	}
	if out := decode("2026-1\n\tat a\n", m.Timeout-1); len(out.Text) > 0 || out.Wait != m.Timeout {
		t.Errorf("too early: %q, wait %v", out.Text, out.Wait)
	}
	if out := decode("2026-1\n\tat a\n", m.Timeout); !slices.Equal(recordsOf(&out), []string{"2026-1\n\tat a"}) {
		t.Errorf("late enough: %q", out.Text)
	}
	if out := decode("2026-1\n\tat a\n\tat hal", m.Timeout); !slices.Equal(recordsOf(&out), []string{"2026-1\n\tat a"}) {
		t.Errorf("before half a line: %q", out.Text)
	}
}

// TestMultilineLongLine: nothing is joined to the parts of a line that is too long, and
// what is around it goes on without waiting for more.
func TestMultilineLongLine(t *testing.T) {
	const maxLine = 300
	for _, long := range []string{strings.Repeat("x", 1000), "2026-3 " + strings.Repeat("y", 290)} {
		text := "2026-1\n a\n2026-2\n b\n" + long + "\n c\n d\n2026-4\n"
		for _, block := range []int{1 << 10, 16 << 10} {
			got, at := run(t, multiline(Plain{}), []byte(text), true, block, 1<<20, maxLine)
			joined := strings.NewReplacer(wire.SplitMark+"\n"+wire.SplitGoesOn, "").Replace(strings.Join(got, "\n") + "\n")
			if joined != text || at != len(text) || got[0] != "2026-1\n a" || got[1] != "2026-2\n b" {
				t.Errorf("block %d: %q", block, got)
			}
			if _, at := run(t, multiline(Plain{}), []byte(text), false, block, 1<<20, maxLine); at < strings.Index(text, " c\n") {
				t.Errorf("block %d: it waits at %d", block, at)
			}
		}
	}
}

// TestMultilineEscapes: a line that is too long only as it is written in a record is sent
// as it is.
func TestMultilineEscapes(t *testing.T) {
	const maxLine = 300
	long := strings.Repeat("\xc0", 280)
	text := "2026-1\n a\n2026-2 " + long + "\n b\n" + long + "\n2026-3\n c\n"
	got, _ := run(t, multiline(Plain{}), []byte(text), true, 16<<10, 1<<20, maxLine)
	if want := []string{"2026-1\n a", "2026-2 " + long, " b", long, "2026-3\n c"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func FuzzMultiline(f *testing.F) {
	f.Add([]byte("2026-a\n b\r\n2026-c\n\n"), uint16(500), uint8(0), true)
	f.Add([]byte(strings.Repeat("2026-\n\xc0\x8a\n", 300)), uint16(3), uint8(1), false)
	f.Add([]byte(strings.Repeat("x", 900)+"\n2026-1\n"), uint16(2), uint8(2), true)
	f.Fuzz(func(t *testing.T, raw []byte, maxLines uint16, kind uint8, end bool) {
		var d Decoder = Plain{}
		if kind%3 > 0 {
			d = UTF16{BigEndian: kind%3 == 1}
		}
		m := multiline(d)
		m.MaxLines, m.MaxBytes = 1+int(maxLines), 200+int(maxLines)
		got, at := run(t, m, raw, end, 1<<10, 1<<17, wire.MaxLine)
		text := fromUTF16(d, raw[:at])
		if strings.HasPrefix(text, bom) && len(raw) > len(bom) {
			text = text[len(bom):]
		}
		if want := recordsIn(m, text); !slices.Equal(got, want) {
			t.Fatalf("%q came as %q, want %q", raw, got, want)
		}
		if end && at < len(raw) {
			t.Fatalf("%d of %d bytes at the end", at, len(raw))
		}
	})
}

// TestMultilineBehindOpenLine: the file before ends in an open line, which was sent. Its last part
// begins a record, and what follows is joined as ever.
func TestMultilineBehindOpenLine(t *testing.T) {
	entry := func(stream, tag, text string) string {
		return "2026-01-01T00:00:00Z " + stream + " " + tag + " " + text + "\n"
	}
	before := entry("stderr", "P", "2026-1 begins")
	raw := entry("stdout", "F", "2026-2") + entry("stderr", "F", "ends") + entry("stdout", "F", "\tat 2") +
		entry("stderr", "F", "\tat 1") + entry("stdout", "F", "2026-3") + entry("stderr", "F", "2026-4") + entry("stderr", "F", "\tat 4")
	m := multiline(CRI{})
	b := make([]byte, 64<<10)
	window := m.Window(b)
	out := m.Decode(Input{Block: b, Raw: window[:copy(window, raw)], Offset: int64(len(before)), Before: []byte(before),
		Inside: true, End: true, MaxLine: 1 << 10})
	want := []string{"2026-2\n\tat 2", wire.SplitGoesOn + "ends\n\tat 1", "2026-3", "2026-4\n\tat 4"}
	if got := recordsOf(&out); !slices.Equal(got, want) || out.Raw != len(raw) {
		t.Errorf("%q, want %q", got, want)
	}
}
