package lines

import (
	"bytes"
	"strings"
	"testing"

	"fanin/internal/wire"
)

// joined undoes splitting.
func joined(text []byte) []byte {
	return bytes.ReplaceAll(text, []byte(wire.SplitMark+"\n"+wire.SplitGoesOn), nil)
}

func checkPieces(t *testing.T, text []byte, max int) {
	t.Helper()
	for line := range bytes.Lines(text) {
		if len(line) > max {
			t.Fatalf("a piece of %d bytes, at most %d: %.80q", len(line), max, line)
		}
	}
}

func TestSplitLong(t *testing.T) {
	f := func(text string, max, splits int) {
		t.Helper()
		out, n := Split(nil, []byte(text), max)
		if n != splits || string(joined(out)) != text {
			t.Errorf("%d splits, want %d; joined %.100q, want %.100q", n, splits, joined(out), text)
		}
		checkPieces(t, out, max)
		if len(out) > SplitSize(len(text), max) {
			t.Errorf("%d bytes, SplitSize returned %d", len(out), SplitSize(len(text), max))
		}
	}
	x := func(n int) string { return strings.Repeat("x", n) + "\n" }
	f("", 256, 0)
	f("\n\n", 256, 0)
	f(x(255), 256, 0)
	f(x(256), 256, 1)
	f(x(255)+x(256)+x(3)+x(100_000)+x(255), 256, 2)
	f(strings.Repeat("ä", 1000)+"\n", 256, 1)
	f(strings.Repeat("\x80", 1000)+"\n", 256, 1) // not UTF-8
}

// No piece ends within a character.
func TestSplitKeepsCharacters(t *testing.T) {
	for _, s := range []string{"ä", "€", "😀"} {
		out, _ := Split(nil, []byte("x"+strings.Repeat(s, 500)+"\n"), 256)
		for line := range strings.Lines(string(out)) {
			if strings.ToValidUTF8(line, "?") != line {
				t.Errorf("torn: %q", line)
			}
		}
	}
}

func FuzzSplit(f *testing.F) {
	for _, s := range []string{"", "\n", "a\nb\n", strings.Repeat("long ", 200), strings.Repeat("ä€😀", 100) + "\nx", strings.Repeat("\x80", 600), wire.SplitMark + "\n" + wire.SplitGoesOn} {
		f.Add([]byte(s), uint16(0))
		f.Add([]byte(s), uint16(77))
	}
	f.Fuzz(func(t *testing.T, text []byte, more uint16) {
		if bytes.Contains(text, []byte(wire.SplitGoesOn)) {
			t.Skip("the marks are not escaped")
		}
		max := MinLimit + int(more)%1000
		whole := append(bytes.Clone(text), '\n')
		out, _ := Split(nil, whole, max)
		checkPieces(t, out, max)
		if !bytes.Equal(joined(out), whole) {
			t.Fatalf("joined %q, want %q", joined(out), whole)
		}
		// The same line while its end has not come.
		open := bytes.ReplaceAll(text, newline, nil)
		if len(open) < max {
			return
		}
		out, rest, goesOn := SplitFirst(nil, open, max)
		checkPieces(t, out, max)
		if !goesOn {
			t.Fatal("a piece was cut and no other follows")
		}
		if len(rest)+len(wire.SplitGoesOn) >= max {
			t.Fatalf("%d bytes are left of %d", len(rest), max)
		}
		out = append(append(out, wire.SplitGoesOn...), rest...)
		if !bytes.Equal(joined(out), open) {
			t.Fatalf("joined %q, want %q", joined(out), open)
		}
	})
}

// The parts of a record join to it, and none ends inside an escape.
func TestSplitRecord(t *testing.T) {
	for _, record := range []string{"", "short", strings.Repeat("x", 255), strings.Repeat("x", 256), strings.Repeat("a\nb", 500), strings.Repeat("\xc0", 600), strings.Repeat("ä\n\xc0", 300)} {
		line := wire.AppendRecord(nil, []byte(record))
		out, divided := SplitRecord(nil, line, 256)
		if out = append(out, '\n'); divided != (len(line) >= 256) {
			t.Errorf("%d bytes divided: %v", len(line), divided)
		}
		checkPieces(t, out, 256)
		whole := []byte{}
		for part := range bytes.Lines(out) {
			part = bytes.TrimSuffix(bytes.TrimSuffix(part, newline), []byte(wire.SplitMark))
			whole = wire.AppendRecordText(whole, bytes.TrimPrefix(part, []byte(wire.SplitGoesOn)))
		}
		if string(whole) != record {
			t.Errorf("%q became %q", record, whole)
		}
	}
}
