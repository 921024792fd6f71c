package wire

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCutLine(t *testing.T) {
	for _, s := range []string{"a", "\u00e4", "\u20ac", "\U0001f600", "a\u0436\u8a9e\U0001f600"} {
		line := []byte(strings.Repeat(s, 10))
		for n := utf8.UTFMax; n < len(line); n++ { // the first rune is never cut off
			cut := CutLine(line, n)
			if cut > n || cut <= n-utf8.UTFMax || !utf8.Valid(line[:cut]) || !utf8.Valid(line[cut:]) {
				t.Errorf("%q: a cut at %d was moved to %d", s, n, cut)
			}
		}
	}
	for _, s := range []string{"\x80", "\xff\x80\x80\x80\x80\x80", "\xfc"} { // no UTF-8: some progress
		line := []byte(strings.Repeat(s, 10))
		for n := 1; n < len(line); n++ {
			if cut := CutLine(line, n); cut > n || cut <= max(0, n-utf8.UTFMax) {
				t.Errorf("%q: a cut at %d was moved to %d", s, n, cut)
			}
		}
	}
}
