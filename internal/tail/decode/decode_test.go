package decode

import (
	"bytes"
	"strings"
	"testing"

	"fanin/internal/lines"
	"fanin/internal/wire"
)

// decodeAll decodes raw in blocks of this size, which double up to largest while no
// line is complete, as a follower's do. It returns the text, and stops where no
// more is complete.
func decodeAll(t *testing.T, d Decoder, raw []byte, offset int, inside, end bool, block, largest, maxLine int) (text string, at int) {
	t.Helper()
	for at = offset; at < len(raw); {
		b := make([]byte, block)
		window := d.Window(b)
		n := copy(window, raw[at:])
		out := d.Decode(Input{Block: b, Raw: window[:n], Offset: int64(at), Inside: inside, End: end && at+n == len(raw),
			Limit: n == len(window) && block >= largest, MaxLine: maxLine})
		if len(out.Text) == 0 {
			if n < len(window) || block >= largest {
				break
			}
			block = min(2*block, largest)
			continue
		}
		checkLines(t, out, maxLine, n)
		text, at, inside = text+string(out.Text), at+out.Raw, out.Inside
	}
	return text, at
}

// checkLines holds what a decoder yields to what is promised of it.
func checkLines(t testing.TB, out Lines, maxLine, n int) {
	t.Helper()
	if out.Raw <= 0 || out.Raw > n || out.Text[len(out.Text)-1] != '\n' {
		t.Fatalf("%d of %d raw bytes, text %.80q", out.Raw, n, out.Text)
	}
	for line := range bytes.Lines(out.Text) {
		if len(line) > maxLine {
			t.Fatalf("a line has %d bytes, more than %d", len(line), maxLine)
		}
	}
	last := Place{}
	for _, p := range append(out.Cuts, Place{len(out.Text), out.Raw}) {
		if p.Text <= last.Text || p.Raw <= last.Raw {
			t.Fatalf("cuts %v do not ascend", out.Cuts)
		}
		if piece := out.Text[last.Text:p.Text]; lines.ChunkLength(piece) != len(piece) {
			t.Fatalf("a piece of %d bytes and %d lines without a cut", len(piece), lines.Count(piece))
		}
		last = p
	}
}

// TestPlain: text comes as it is, in whatever blocks it is read.
func TestPlain(t *testing.T) {
	for name, text := range map[string]string{
		"lines":           strings.Repeat("a line\nanother one\n\n", 300),
		"empty lines":     strings.Repeat("\n", 3*wire.MaxCutLines),
		"long last block": strings.Repeat("x", 900) + "\n" + "y\n",
	} {
		for _, block := range []int{1 << 10, 5000, 1 << 20} {
			got, at := decodeAll(t, Plain{}, []byte(text), 0, false, false, block, 1<<20, 1000)
			if got != text || at != len(text) {
				t.Errorf("%s, block %d: %d of %d bytes, text as it was: %v", name, block, at, len(text), got == text)
			}
		}
	}
}

// TestPlainDivides: the parts of a line that is too long make it again, and are the
// same whether a decoder goes on or a fresh one begins where a part ended.
func TestPlainDivides(t *testing.T) {
	const maxLine = 300
	for _, long := range []string{strings.Repeat("x", 1000), strings.Repeat("\u8a9e", 400), strings.Repeat("\x80", 777)} {
		raw := []byte("before\n" + long + "\nafter\n")
		text, _ := decodeAll(t, Plain{}, raw, 0, false, false, 1<<10, 1<<10, maxLine)
		joined := strings.NewReplacer(wire.SplitMark+"\n"+wire.SplitGoesOn, "").Replace(text)
		if joined != string(raw) {
			t.Errorf("the parts make %q", joined)
		}
		for at := 0; at < len(raw); { // a fresh decoder at each place
			b := make([]byte, 1<<10)
			n := copy(Plain{}.Window(b), raw[at:])
			inside := at > 0 && Plain{}.LineStart(raw[:at], 0) < at
			out := Plain{}.Decode(Input{Block: b, Raw: Plain{}.Window(b)[:n], Offset: int64(at), Inside: inside, MaxLine: maxLine})
			if !strings.HasPrefix(text, string(out.Text)) {
				t.Fatalf("a fresh decoder at %d yields %q, not %q", at, out.Text, text)
			}
			text, at = text[len(out.Text):], at+out.Raw
		}
	}
}

// TestPlainEnd: without an end, a last line is held back; where nothing follows it,
// it is complete.
func TestPlainEnd(t *testing.T) {
	for _, raw := range []string{"a\nb", "b"} {
		held, at := decodeAll(t, Plain{}, []byte(raw), 0, false, false, 1<<10, 1<<10, 300)
		if held != strings.TrimSuffix(raw, "b") || at != len(held) {
			t.Errorf("%q: %q up to %d", raw, held, at)
		}
		if got, _ := decodeAll(t, Plain{}, []byte(raw), 0, false, true, 1<<10, 1<<10, 300); got != raw+"\n" {
			t.Errorf("%q at the end: %q", raw, got)
		}
	}
}

// TestPlainMark: a byte order mark at the beginning of a source is no text, and one that is
// alone there, or elsewhere, is.
func TestPlainMark(t *testing.T) {
	for raw, want := range map[string]string{
		bom + "a\n" + bom + "b\n": "a\n" + bom + "b\n", bom + "\n": "\n", bom + "a": "a\n", bom: bom + "\n",
		bom + strings.Repeat("x", 400) + "\n": strings.Repeat("x", 400) + "\n",
	} {
		for _, each := range []bool{false, true} {
			var got strings.Builder
			for at, inside := 0, false; at < len(raw); {
				b := make([]byte, 1<<10)
				window := Plain{}.Window(b)
				out := Plain{}.Decode(Input{Block: b, Raw: window[:copy(window, raw[at:])], Offset: int64(at), Inside: inside, End: true, MaxLine: 300, Each: each})
				if n := len(out.Each); n > 0 && (out.Each[n-1] != Line{Text: len(out.Text), Raw: out.Raw}) || each && !out.Inside && !inside && n == 0 {
					t.Errorf("%q: %v", raw, out.Each)
				}
				got.Write(out.Text)
				at, inside = at+out.Raw, out.Inside
			}
			if text := strings.ReplaceAll(got.String(), wire.SplitMark+"\n"+wire.SplitGoesOn, ""); text != want {
				t.Errorf("%q: %q, want %q", raw, text, want)
			}
		}
	}
}

// TestPlainAllocates nothing for a line: text is where it was read.
func TestPlainAllocates(t *testing.T) {
	b := make([]byte, 64<<10)
	raw := Plain{}.Window(b)
	n := copy(raw, strings.Repeat("a line of text\n", 1000))
	var out Lines
	allocs := testing.AllocsPerRun(10, func() {
		out = Plain{}.Decode(Input{Block: b, Raw: raw[:n], MaxLine: wire.MaxLine})
	})
	if allocs > 0 || &out.Text[0] != &raw[0] {
		t.Errorf("%v allocations for 1000 lines, in place: %v", allocs, &out.Text[0] == &raw[0])
	}
}

func FuzzPlain(f *testing.F) {
	f.Add([]byte("a\nb\n\nc"), uint16(300), true)
	f.Add([]byte(strings.Repeat("\u8a9e", 300)+"\nx"), uint16(260), false)
	f.Add([]byte(strings.Repeat("x", 300)), uint16(300-lines.MinLimit), true) // no room for its newline
	f.Fuzz(func(t *testing.T, raw []byte, limit uint16, end bool) {
		maxLine := lines.MinLimit + int(limit)
		text, at := decodeAll(t, Plain{}, raw, 0, false, end, 1<<10, 1<<17, maxLine)
		if end && at < len(raw) {
			t.Fatalf("%d of %d bytes at the end", at, len(raw))
		}
		if bytes.Contains(raw, []byte(wire.SplitMark)) || bytes.Contains(raw, []byte(wire.SplitGoesOn)) {
			return
		}
		joined := strings.ReplaceAll(text, wire.SplitMark+"\n"+wire.SplitGoesOn, "")
		want := string(raw[:at])
		if !strings.HasSuffix(want, "\n") {
			want += "\n"
		}
		if open := wire.SplitMark + "\n"; at > 0 && strings.TrimSuffix(joined, open) != strings.TrimSuffix(want, "\n") && joined != want {
			t.Fatalf("%q came as %q", raw, text)
		}
	})
}
