package sink

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func layOut(t testing.TB, format, text string) (string, int) {
	t.Helper()
	l, err := newLayout(format)
	if err != nil {
		t.Fatal(err)
	}
	l.begin(1763830800123456, "web01", "nginx")
	out, n := l.append(nil, []byte(text))
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
	f("raw", "a\r\n\x00b\n", "a\r\n\x00b\n")
	const j = `{"ObservedTimestamp":"2025-11-22T17:00:00.123456Z","host.name":"web01","service.name":"nginx","Body":"`
	f("json", "say \"hi\"\\\t\x01\n", j+`say \"hi\"\\\u0009\u0001"}`+"\n")
	f("json", "\xff\u20ac\n", j+"\ufffd\u20ac\"}\n")
}

func TestCleanName(t *testing.T) {
	f := func(in, want string, colon bool) {
		t.Helper()
		if got := cleanName(in, colon, "-"); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	f("web-1.example_/x", "web-1.example_/x", false)
	f("fe80::1", "fe80::1", true)
	f("a: b\nc\x1b", "a__b_c_", false)
	f("", "-", true)
}

// FuzzLayout: one line in is one line out, whatever it holds, and nothing of a
// clean line changes.
func FuzzLayout(f *testing.F) {
	for _, seed := range []string{"", "a", "a\r", "\x00\x1f\x7f\t", "\xff\xfe", strings.Repeat("x", 40) + "\n" + "y", "\x1b]0;x\x07", "\u2028"} {
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
				if i := bytes.IndexFunc([]byte(laid), func(r rune) bool { return r < 0x20 && r != '\t' || r == 0x7f }); i >= 0 {
					t.Fatalf("%q has a control byte at %d", laid, i)
				}
				if cleanSlow([]byte(line)) && !strings.HasSuffix(laid, ": "+line) {
					t.Fatalf("%q became %q", line, laid)
				}
			}
		}
	})
}
