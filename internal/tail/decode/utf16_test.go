package decode

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"fanin/internal/wire"
)

// inUTF16 is a text in UTF-16.
func inUTF16(u UTF16, text string) (raw []byte) {
	for _, c := range utf16.Encode([]rune(text)) {
		if u.BigEndian {
			raw = append(raw, byte(c>>8), byte(c))
		} else {
			raw = append(raw, byte(c), byte(c>>8))
		}
	}
	return raw
}

// fromUTF16 is the reference: the text of raw bytes, without a mark at the beginning.
func fromUTF16(d Decoder, raw []byte) string {
	u, ok := d.(UTF16)
	if !ok {
		return string(raw)
	}
	var units []uint16
	for i := 0; i < len(raw); i += 2 {
		second := byte(0)
		if i+1 < len(raw) {
			second = raw[i+1]
		}
		units = append(units, uint16(u.value(raw[i], second)))
	}
	if len(raw) > 2 && units[0] == 0xfeff {
		units = units[1:]
	}
	return string(utf16.Decode(units))
}

var scripts = "ascii, Ünïcödé, журнал, 服务器, \U0001f600\U0001f601 \u2028 \u0a0a\u0a00\u000d\u010a\t"

// TestUTF16: text of each width and order comes as UTF-8, in whatever blocks.
func TestUTF16(t *testing.T) {
	for _, u := range []UTF16{{}, {BigEndian: true}} {
		for name, text := range map[string]string{
			"lines":       strings.Repeat(scripts+"\r\n"+"\n"+"x\n", 2000),
			"empty lines": strings.Repeat("\n", 3*wire.MaxCutLines),
			"wide":        strings.Repeat(strings.Repeat("語", 250)+"\n", 1500),
			"with mark":   "\ufeff" + scripts + "\n\ufeff\n",
		} {
			raw := inUTF16(u, text)
			for _, block := range []int{1 << 10, 5000, 1 << 20} {
				got, at := run(t, u, raw, false, block, 1<<20, wire.MaxLine)
				if want := strings.TrimPrefix(text, "\ufeff"); strings.Join(got, "\n")+"\n" != want || at != len(raw) {
					t.Errorf("%v, %s, block %d: %d of %d bytes", u, name, block, at, len(raw))
				}
			}
		}
	}
}

// TestUTF16Divides: the parts of a line that is too long make it again, and a fresh
// decoder at each place knows whether it is inside a line.
func TestUTF16Divides(t *testing.T) {
	const maxLine = 300
	for _, u := range []UTF16{{}, {BigEndian: true}} {
		for _, long := range []string{strings.Repeat("x", 1000), strings.Repeat("語\U0001f600", 200), strings.Repeat("\u0a0a", 299)} {
			raw := inUTF16(u, "before\n"+long+"\nafter\n")
			var got []byte
			for at := 0; at < len(raw); {
				b := make([]byte, 3<<10)
				n := copy(u.Window(b), raw[at:])
				tail := raw[max(0, at-wire.TailSize):at]
				inside := at > 0 && u.LineStart(tail, int64(at-len(tail))) < len(tail)
				out := u.Decode(Input{Block: b, Raw: u.Window(b)[:n], Offset: int64(at), Inside: inside, MaxLine: maxLine})
				checkYield(t, &out, maxLine, n)
				got, at = append(got, out.Text...), at+out.Raw
			}
			joined := strings.ReplaceAll(string(got), wire.SplitMark+"\n"+wire.SplitGoesOn, "")
			if joined != "before\n"+long+"\nafter\n" {
				t.Errorf("the parts make %q", joined)
			}
		}
	}
}

// TestUTF16LongestLine: a line of wire.MaxLine is not divided, and one that no block
// holds is.
func TestUTF16LongestLine(t *testing.T) {
	for _, letter := range []string{"x", "语"} {
		text := strings.Repeat(letter, (wire.MaxLine-1)/len(letter)) + "\n"
		got, at := run(t, UTF16{}, inUTF16(UTF16{}, text), false, 16<<10, wire.MaxLine+4<<10, wire.MaxLine)
		if len(got) != 1 || got[0]+"\n" != text || at == 0 {
			t.Errorf("%q: %d lines up to %d", letter, len(got), at)
		}
	}
	endless := inUTF16(UTF16{}, strings.Repeat("x", 3<<20))
	if got, _ := run(t, UTF16{}, endless, false, 16<<10, 1<<20, wire.MaxLine); len(got) < 3 {
		t.Errorf("%d parts", len(got))
	}
}

// TestUTF16Damage: halves of characters, and halves of units beside a hole, cost
// nothing but themselves.
func TestUTF16Damage(t *testing.T) {
	decode := func(u UTF16, offset int64, end bool, raw string) string {
		b := make([]byte, 1<<10)
		window := u.Window(b)
		return string(u.Decode(Input{Block: b, Raw: window[:copy(window, raw)], Offset: offset, End: end, MaxLine: 300}).Text)
	}
	for _, test := range []struct {
		u         UTF16
		offset    int64
		end       bool
		raw, want string
	}{
		{UTF16{}, 0, false, "a\x00\x3d\xd8\n\x00b\x00", "a\ufffd\n"},
		{UTF16{}, 0, true, "a\x00\x3d\xd8", "a\ufffd\n"},
		{UTF16{}, 0, false, "a\x00\x00\xde\n\x00", "a\ufffd\n"},
		{UTF16{}, 0, true, "a\x00\n", "a\n"}, // the hole behind it begins with the other half
		{UTF16{}, 0, true, "a\x00b", "ab\n"},
		{UTF16{BigEndian: true}, 513, false, "a\x00b\x00\n", "ab\n"}, // and ends with it
		{UTF16{}, 513, false, "\x04b\x00\n\x00", "\u0400b\n"},
		{UTF16{}, 0, false, "a\x00b\x00\n", ""},
	} {
		if got := decode(test.u, test.offset, test.end, test.raw); got != test.want {
			t.Errorf("%v %q at %d: %q, want %q", test.u, test.raw, test.offset, got, test.want)
		}
	}
}

// TestUTF16LineStart: a newline is a whole unit, at whatever place the bytes begin; bytes
// that only look like one are none.
func TestUTF16LineStart(t *testing.T) {
	for _, u := range []UTF16{{}, {BigEndian: true}} {
		for text, want := range map[string]int{"": -1, "a": -1, "\u0a0a\u0a00\u010a": -1, "\n": 2, "a\nb": 4, "\n\u0a0a\u000a\u0a00": 6} {
			raw := inUTF16(u, text)
			for _, half := range []bool{false, true} {
				given, offset, place := raw, int64(4), want
				if half && len(raw) > 0 {
					given, offset, place = append([]byte{'\n'}, raw...), 3, want
					if want >= 0 {
						place++
					}
				}
				if got := u.LineStart(given, offset); got != place {
					t.Errorf("%v, %q at %d: %d, want %d", u, text, offset, got, place)
				}
			}
		}
	}
}

func FuzzUTF16(f *testing.F) {
	f.Add(inUTF16(UTF16{}, "\ufeff"+scripts+"\na\n\nb"), uint16(300), false, true)
	f.Add(inUTF16(UTF16{BigEndian: true}, strings.Repeat("語", 500)+"\nx"), uint16(260), true, false)
	f.Add([]byte("\n\x00\x3d\xd8\n\x00\n"), uint16(0), false, true)
	f.Fuzz(func(t *testing.T, raw []byte, limit uint16, big, end bool) {
		u := UTF16{BigEndian: big}
		got, at := run(t, u, raw, end, 1<<10, 1<<17, 256+int(limit))
		if end && at < len(raw) {
			t.Fatalf("%d of %d bytes at the end", at, len(raw))
		}
		if at == 0 {
			return
		}
		joined := strings.ReplaceAll(strings.Join(got, "\n")+"\n", wire.SplitMark+"\n"+wire.SplitGoesOn, "")
		want := fromUTF16(u, raw[:at])
		if len(raw) == 2 && bytes.Equal(raw[:at], raw) { // a mark alone is text
			want = string(utf16.Decode([]uint16{uint16(u.value(raw[0], raw[1]))}))
		}
		if !utf8.ValidString(joined) || strings.TrimSuffix(strings.TrimSuffix(joined, "\n"), wire.SplitMark) != strings.TrimSuffix(want, "\n") {
			t.Fatalf("%q came as %q, want %q", raw, joined, want)
		}
	})
}
