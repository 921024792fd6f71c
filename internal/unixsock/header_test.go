package unixsock

import (
	"bytes"
	"testing"
)

func TestParse(t *testing.T) {
	const head = "<13>Nov  6 03:12:01 "
	for in, want := range map[string]struct {
		tag  string
		pid  int
		text string
	}{
		head + "app[17]: text":        {"app", 17, "text"},
		head + "app: text":            {"app", 0, "text"},
		head + "app:text":             {"app", 0, "text"},
		head + "app[17]:":             {"app", 17, ""},
		head + "app[17] text":         {"", 0, "app[17] text"},
		head + "app[x]: text":         {"", 0, "app[x]: text"},
		head + "two words: text":      {"", 0, "two words: text"},
		head + ": text":               {"", 0, ": text"},
		head + "a/b.c-d@1.service: x": {"a/b.c-d@1.service", 0, "x"},
		head:                          {"", 0, ""},
		"<0>text":                     {"", 0, "text"},
		"<191>text":                   {"", 0, "text"},
		"<192>text":                   {"", 0, "<192>text"},
		"<013>text":                   {"", 0, "<013>text"},
		"<>text":                      {"", 0, "<>text"},
		"<13 text":                    {"", 0, "<13 text"},
		"<":                           {"", 0, "<"},
		"<14>error: x":                {"", 0, "error: x"},
		"<14>Nov 16 3:12:01 app: x":   {"", 0, "Nov 16 3:12:01 app: x"},
		"Nov 16 03:12:01 app: x":      {"", 0, "Nov 16 03:12:01 app: x"},
	} {
		if m := parse([]byte(in)); m.tag != want.tag || m.pid != want.pid || string(m.text) != want.text {
			t.Errorf("%q becomes %q %d %q", in, m.tag, m.pid, m.text)
		}
	}
}

// FuzzParse: no byte of the text is lost, or made up.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"<13>Nov  6 03:12:01 app[17]: text", "<13>text", "<1>Nov 16 03:12:01 a[99999999999]: x", "x: y", "<13>Nov  6 03:12:01 a[-1]: x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		m := parse(b)
		if !bytes.HasSuffix(before, m.text) || !bytes.Equal(b, before) || m.pid < 0 {
			t.Fatalf("%q becomes %+v", before, m)
		}
		head := before[:len(before)-len(m.text)]
		if m.tag != "" && !bytes.Contains(head, []byte(m.tag)) {
			t.Fatalf("%q has no tag %q", head, m.tag)
		}
	})
}
