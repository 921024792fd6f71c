package escape

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// slowly is Line by the rules alone, rune by rune.
func slowly(line []byte) string {
	var b strings.Builder
	for len(line) > 0 {
		r, n := utf8.DecodeRune(line)
		bad := Rune(r)
		if r == utf8.RuneError && n == 1 {
			bad = 0x80 <= line[0] && line[0] <= 0x9f
		}
		for _, c := range line[:n] {
			if bad {
				fmt.Fprintf(&b, "#%03o", c)
			} else {
				b.WriteByte(c)
			}
		}
		line = line[n:]
	}
	return b.String()
}

// slowlyJSON is JSON by the rules alone, rune by rune.
func slowlyJSON(line []byte) string {
	var b strings.Builder
	for len(line) > 0 {
		r, n := utf8.DecodeRune(line)
		switch {
		case r == '"' || r == '\\':
			b.WriteString("\\" + string(r))
		case r == '\t' || Rune(r):
			fmt.Fprintf(&b, "\\u%04x", r)
		default:
			b.WriteRune(r) // U+FFFD of a byte that is not UTF-8
		}
		line = line[n:]
	}
	return b.String()
}

func same(t *testing.T, line string) {
	t.Helper()
	if got, want := string(JSON(nil, []byte(line))), slowlyJSON([]byte(line)); got != want {
		t.Fatalf("%q became, in JSON,\n%q, want\n%q", line, got, want)
	}
	if got, want := string(Line(nil, []byte(line))), slowly([]byte(line)); got != want {
		t.Fatalf("%q became\n%q, want\n%q", line, got, want)
	}
}

// fillers are texts that each part of Harmless passes over in its own way.
var fillers = []string{
	strings.Repeat("a", 80), strings.Repeat("ж", 40), "x" + strings.Repeat("ж", 40), strings.Repeat("語", 32),
	strings.Repeat("a語", 20), strings.Repeat("ж語", 20), strings.Repeat("\xff", 80), strings.Repeat("é", 40),
	strings.Repeat("a\"", 40), strings.Repeat("\U0001f600", 20),
}

// Every byte at every place of what is looked at together, between texts of each
// kind; and every pair and triple of bytes that a rune could begin with.
func TestEveryByteAtEveryPlace(t *testing.T) {
	for _, f := range fillers {
		for place := range 72 {
			for c := range 256 {
				same(t, f[:place]+string([]byte{byte(c)})+f[place:])
				same(t, f[:place]+string([]byte{byte(c)})+f[min(place+1, len(f)):])
			}
		}
	}
	interesting := []byte{0x00, 0x1b, 0x7f, 0x80, 0x8f, 0x9f, 0xa0, 0xa8, 0xbf, 0xc0, 0xc1, 0xc2, 0xc3, 0xd0, 0xdf, 0xe0, 0xe1, 0xe2, 0xe3, 0xed, 0xef, 0xf0, 0xf4, 0xf5, 0xff, 'a'}
	for _, f := range fillers[:4] {
		for _, a := range interesting {
			for _, b := range interesting {
				for _, c := range interesting {
					for _, place := range []int{0, 1, 23, 24, 31, 32, 33, 64} {
						same(t, f[:place]+string([]byte{a, b, c})+f[place:])
					}
				}
			}
		}
	}
}

// The rule itself, by the names that Unicode has for what it is about.
func TestRune(t *testing.T) {
	for r := range rune(unicode.MaxRune + 1) {
		mark := r == 0x200e || r == 0x200f || r == 0x61c // turns nothing round, and belongs to text
		bad := r != '\t' && unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp) || unicode.Is(unicode.Bidi_Control, r) && !mark
		if Rune(r) != bad {
			t.Errorf("%U could do harm: %v, want %v", r, Rune(r), bad)
		}
		if want := map[bool]int{true: 0, false: len(string(r))}[bad]; utf8.ValidRune(r) && Harmless([]byte(string(r))) != want {
			t.Errorf("%U: %d bytes stay as they are, want %d", r, Harmless([]byte(string(r))), want)
		}
	}
}

// FuzzLine: what is fast is the same as the rules alone, and what comes out needs
// no escaping.
func FuzzLine(f *testing.F) {
	for _, seed := range append(fillers, "", "\x1b[2J\u0085\x85\u2028\u202e\u2066\x7f\t", "\xc0\x9b\xe0\x82\x9b\xed\xa0\x80", "語\xe8\x80\x00", "\x80ж\xd0\x1b") {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		same(t, string(line))
		if out := Line(nil, line); Harmless(out) != len(out) {
			t.Fatalf("%q became %q, which is not harmless", line, out)
		}
		var back string
		if err := json.Unmarshal(append(JSON([]byte{'"'}, line), '"'), &back); err != nil || utf8.Valid(line) && back != string(line) {
			t.Fatalf("%q came back as %q, %v", line, back, err)
		}
	})
}
