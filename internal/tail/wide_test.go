package tail

import (
	"encoding/binary"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"unicode/utf16"
)

func utf16Text(order binary.AppendByteOrder, text string) string {
	var b []byte
	for _, c := range utf16.Encode([]rune(text)) {
		b = order.AppendUint16(b, c)
	}
	return string(b)
}

func TestWideEncoding(t *testing.T) {
	const text = "first line\r\nsecond line\r\n"
	for name, test := range map[string]struct {
		head string
		wide bool
	}{
		"UTF-16LE with mark":   {"\xff\xfe" + utf16Text(binary.LittleEndian, text), true},
		"UTF-16BE with mark":   {"\xfe\xff" + utf16Text(binary.BigEndian, text), true},
		"Cyrillic with mark":   {"\xff\xfe" + utf16Text(binary.LittleEndian, "журнал"), true},
		"UTF-32LE":             {"\xff\xfe\x00\x00a\x00\x00\x00", true},
		"UTF-32BE":             {"\x00\x00\xfe\xff\x00\x00\x00a", true},
		"UTF-16LE":             {utf16Text(binary.LittleEndian, text), true},
		"UTF-16BE":             {utf16Text(binary.BigEndian, text), true},
		"the mark alone":       {"\xff\xfe", true},
		"too little":           {"a\x00b\x00", false},
		"UTF-8":                {text, false},
		"UTF-8 with mark":      {"\xef\xbb\xbf" + text, false},
		"Latin-1":              {"\xff\xe9t\xe9 de la ville de Paris", false},
		"some NULs":            {"a\x00b\x00c\x00d\x00e\x00f\x00g\x00hijklmn", false},
		"NULs":                 {string(make([]byte, 64)), false},
		"numbers, 32 bits LE":  {"\x01\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00\x04\x00\x00\x00", false},
		"nothing":              {"", false},
		"a few bytes of UTF-8": {"a\n", false},
	} {
		if got := wideEncoding([]byte(test.head)); (got != "") != test.wide {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// A file in UTF-16 is followed, and reported once: on stderr, in the status and in
// the counts. Others are not.
func TestWideFileIsReported(t *testing.T) {
	var log strings.Builder
	var mu sync.Mutex
	r := newRig(t)
	r.change = func(t *Tailer) {
		t.Log = slog.New(slog.NewTextHandler(writer(func(p []byte) { mu.Lock(); log.Write(p); mu.Unlock() }), nil))
	}
	wide := "\xff\xfe" + utf16Text(binary.LittleEndian, "one\ntwo\n")
	r.append("a.log", wide).append("b.log", "good\n").run()
	r.await(func() bool {
		return len(r.collector.lines()) > len("good \xff\xfe") && r.tailer.Counts()["wide_files"] == 1
	})
	r.append("a.log", utf16Text(binary.LittleEndian, "three\n")).append("b.log", "more\n")
	r.await(func() bool {
		return strings.Contains(r.collector.lines(), "t\x00h\x00r\x00e\x00e") && strings.Contains(r.collector.lines(), "more")
	})
	mu.Lock()
	defer mu.Unlock()
	if n := strings.Count(log.String(), "is not UTF-8"); n != 1 || !strings.Contains(log.String(), r.path("a.log")) {
		t.Errorf("it says so %d times:\n%s", n, log.String())
	}
	for _, f := range r.tailer.Status() {
		if wide := f.Path == r.path("a.log"); (f.Warning != "") != wide {
			t.Errorf("the status of %s warns %q", f.Path, f.Warning)
		}
	}
	if n := r.tailer.Counts()["wide_files"]; n != 1 {
		t.Errorf("counted %d files", n)
	}
}
