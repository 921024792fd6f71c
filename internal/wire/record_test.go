package wire

import (
	"bytes"
	"strings"
	"testing"
)

// TestRecord: a record of several lines is one line, and comes back with whatever bytes
// it has.
func TestRecord(t *testing.T) {
	for text, want := range map[string]string{
		"":                      "",
		"plain":                 "plain",
		"a\n\tat b\n":           "a\xc0\x8a\tat b\xc0\x8a",
		"\xc0\x8a":              "\xc0\xc0\x8a",
		"\xc0\n\xc0":            "\xc0\xc0\xc0\x8a\xc0\xc0",
		strings.Repeat("\n", 3): strings.Repeat("\xc0\x8a", 3),
	} {
		got := AppendRecord([]byte("before"), []byte(text))
		if string(got) != "before"+want {
			t.Errorf("%q became %q", text, got)
		}
		if back := AppendRecordText(nil, got[len("before"):]); string(back) != text {
			t.Errorf("%q came back as %q", text, back)
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte("a\nb"), []byte("\xc0\x8a\n"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		line := AppendRecord(AppendRecord(nil, a), b)
		if bytes.IndexByte(line, '\n') >= 0 {
			t.Fatalf("a newline in %q", line)
		}
		if back := AppendRecordText(nil, line); !bytes.Equal(back, append(bytes.Clone(a), b...)) {
			t.Fatalf("%q and %q came back as %q", a, b, back)
		}
		AppendRecordText(nil, a) // what no record has must not fail
	})
}
