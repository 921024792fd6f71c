package line

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"fanin/internal/escape"
	"fanin/internal/wire"
)

func layOut(t testing.TB, format, text string) (string, int) {
	t.Helper()
	l, err := NewLayout(format)
	if err != nil {
		t.Fatal(err)
	}
	l.Begin(1763830800123456, "web01", "nginx", nil)
	out, n := l.Append(nil, []byte(text))
	return string(out), n
}

func TestLayout(t *testing.T) {
	const p = "2025-11-22T17:00:00.123456Z web01 nginx: "
	long := strings.Repeat("0123456789", 10)
	f := func(format, text, want string) {
		t.Helper()
		if got, n := layOut(t, format, text); got != want || n != strings.Count(text, "\n") {
			t.Errorf("%s %q:\n got %q (%d lines)\nwant %q", format, text, got, n, want)
		}
	}
	f("syslog", "a\nb\n", p+"a\n"+p+"b\n")
	f("syslog", "\n", p+"\n")
	f("syslog", "a\r\n", p+"a\n")
	f("syslog", "a\rb\r\r\n", p+"a#015b#015\n")
	f("syslog", "tab\tstays\n", p+"tab\tstays\n")
	f("syslog", long+"\x1b[31m"+long+"\n", p+long+"#033[31m"+long+"\n")
	f("syslog", "\x00\x7f\x1f\n", p+"#000#177#037\n")
	f("syslog", "gr\xfc\xdfe, \u20ac\n", p+"gr\xfc\xdfe, \u20ac\n")
	f("syslog", "\u0085\x85\u202e\n", p+"#302#205#205#342#200#256\n")
	f("raw", "a\r\n\x00b\n", "a\r\n\x00b\n")
	const j = `{"ObservedTimestamp":"2025-11-22T17:00:00.123456Z","host.name":"web01","service.name":"nginx","Body":"`
	f("json", "say \"hi\"\\\t\x01\n", j+`say \"hi\"\\\u0009\u0001"}`+"\n")
	f("json", "\xff\u20ac\n", j+"\ufffd\u20ac\"}\n")
	f("json", "\u0085\x85\u202e\n", j+`\u0085`+"\ufffd"+`\u202e"}`+"\n")
}

// TestLayoutOfRecords: a record of several lines is one line of the file. What looks like
// its inner newlines stays as it is in other lines.
func TestLayoutOfRecords(t *testing.T) {
	lookalike := "\xc0\x8a\xc0\xc0"
	record := wire.AppendRecord(nil, []byte("java.lang.Error: "+lookalike+"\n\tat a.b(\"c\")\n\nCaused by: d\r"))
	text := string(record) + "\nnext\n"
	for format, want := range map[string]struct{ joined, plain string }{
		"syslog": {"java.lang.Error: \xc0#212\xc0\xc0#012\tat a.b(\"c\")#012#012Caused by: d", lookalike + "\n"},
		"json":   {`java.lang.Error: ` + strings.Repeat("\ufffd", 4) + `\u000a\u0009at a.b(\"c\")\u000a\u000aCaused by: d`, ""},
		"raw":    {"java.lang.Error: " + lookalike + "#012\tat a.b(\"c\")#012#012Caused by: d\r", lookalike + "\n"},
	} {
		l, err := NewLayout(format)
		if err != nil {
			t.Fatal(err)
		}
		l.BeginBatch(&wire.Batch{Time: 1763830800123456, Joined: true}, "web01", "app")
		got, n := l.Append(nil, []byte(text))
		if n != 2 || strings.Count(string(got), "\n") != 2 || !strings.Contains(string(got), want.joined) {
			t.Errorf("%s: %d lines\n got %q\nwant %q", format, n, got, want.joined)
		}
		l.BeginBatch(&wire.Batch{Time: 1763830800123456}, "web01", "app")
		plain, _ := l.Append(nil, []byte(lookalike+"\n"))
		if strings.Contains(string(plain), "#012") || strings.Contains(string(plain), "000a") ||
			format == "raw" && string(plain) != want.plain {
			t.Errorf("%s: %q", format, plain)
		}
	}
}

// Lines of many scripts, of other encodings and of no encoding: what is harmless
// stays as it is, byte by byte. The golden files were looked at by hand.
func TestLayoutGolden(t *testing.T) {
	text, err := os.ReadFile("testdata/scripts.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"syslog", "json"} {
		want, err := os.ReadFile("testdata/scripts." + format)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := layOut(t, format, string(text)); got != string(want) {
			t.Errorf("%s: laid out as\n%q\nwant\n%q", format, got, want)
		}
	}
}

// Every byte at every place of what is looked at together is escaped, or is not.
func TestLayoutEveryByte(t *testing.T) {
	clean := strings.Repeat("abcdefgh", 9)
	for place := range clean {
		for c := range 256 {
			if c == '\n' {
				continue
			}
			line := clean[:place] + string([]byte{byte(c)}) + clean[place:]
			want := line
			if c < 0x20 && c != '\t' || 0x7f <= c && c < 0xa0 {
				want = clean[:place] + fmt.Sprintf("#%03o", c) + clean[place:]
			}
			if got, _ := layOut(t, "syslog", line+"\n"); !strings.HasSuffix(got, ": "+want+"\n") {
				t.Fatalf("byte %#x at %d became %q", c, place, got)
			}
		}
	}
}

// FuzzLayout: one line in is one line out, whatever it holds, and nothing of a
// clean line changes.
func FuzzLayout(f *testing.F) {
	for _, seed := range []string{"", "a", "a\r", "\x00\x1f\x7f\t", "\xff\xfe", strings.Repeat("x", 40) + "\n" + "y", "\x1b]0;x\x07", "\u2028",
		strings.Repeat("x", 13) + "\x7f" + strings.Repeat("x", 30), strings.Repeat("ж", 30) + "\x9b", strings.Repeat("語", 30) + "\u2066", "\xd0\x1b\xe8\x80", "\xed\xa0\x80\xc0\x9b"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		text := string(b) + "\n"
		lines := strings.Count(text, "\n")
		for _, format := range []string{"syslog", "json", "raw"} {
			out, n := layOut(t, format, text)
			if n != lines || strings.Count(out, "\n") != lines {
				t.Fatalf("%s: %d lines became %d (said %d)", format, lines, strings.Count(out, "\n"), n)
			}
			if format == "raw" {
				if out != text {
					t.Fatal("raw changed the text")
				}
				continue
			}
			if want := slowly(format, text); out != want {
				t.Fatalf("%s: %q became\n%q, want\n%q", format, text, out, want)
			}
			rest := out
			for line := range strings.Lines(text) {
				var laid string
				laid, rest, _ = strings.Cut(rest, "\n")
				line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
				if format == "json" {
					var v map[string]string
					if err := json.Unmarshal([]byte(laid), &v); err != nil {
						t.Fatalf("%q is no JSON: %v", laid, err)
					}
					if utf8.ValidString(line) && v["Body"] != line {
						t.Fatalf("%q came back as %q", line, v["Body"])
					}
					continue
				}
				if i := harmful(laid); i >= 0 {
					t.Fatalf("%q has a control byte at %d", laid, i)
				}
				if escape.Harmless([]byte(line)) == len(line) && !strings.HasSuffix(laid, ": "+line) {
					t.Fatalf("%q became %q", line, laid)
				}
			}
		}
	})
}

// slowly is the layout of each line by itself, all of which goes through package escape.
func slowly(format, text string) string {
	var out []byte
	for line := range strings.Lines(text) {
		body := []byte(strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"))
		if format == "json" {
			out = append(out, `{"ObservedTimestamp":"2025-11-22T17:00:00.123456Z","host.name":"web01","service.name":"nginx","Body":"`...)
			out = append(escape.JSON(out, body), "\"}\n"...)
		} else {
			out = append(out, "2025-11-22T17:00:00.123456Z web01 nginx: "...)
			out = append(escape.Line(out, body), '\n')
		}
	}
	return string(out)
}

// harmful is where the first character of a laid-out line is that layouts escape,
// or -1. It knows them by itself, and slowly.
func harmful(line string) int {
	for i := 0; i < len(line); {
		r, n := utf8.DecodeRuneInString(line[i:])
		switch {
		case n == 1 && r == utf8.RuneError && line[i] < 0xa0, r < 0x20 && r != '\t', r >= 0x7f && r < 0xa0,
			r >= 0x2028 && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
			return i
		}
		i += n
	}
	return -1
}
