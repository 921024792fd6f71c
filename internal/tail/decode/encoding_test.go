package decode

import (
	"strings"
	"testing"
)

func le(text string) string { return string(inUTF16(UTF16{}, text)) }
func be(text string) string { return string(inUTF16(UTF16{BigEndian: true}, text)) }

func TestWideEncoding(t *testing.T) {
	const text = "first line\r\nsecond line\r\n"
	for name, test := range map[string]struct {
		head string
		wide bool
	}{
		"UTF-16LE with mark":   {"\xff\xfe" + le(text), true},
		"UTF-16BE with mark":   {"\xfe\xff" + be(text), true},
		"Cyrillic with mark":   {"\xff\xfe" + le("журнал"), true},
		"UTF-32LE":             {"\xff\xfe\x00\x00a\x00\x00\x00", true},
		"UTF-32BE":             {"\x00\x00\xfe\xff\x00\x00\x00a", true},
		"UTF-16LE":             {le(text), true},
		"UTF-16BE":             {be(text), true},
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
		if got, reason := wideEncoding([]byte(test.head)); (got != "") != test.wide || (reason != "") != test.wide {
			t.Errorf("%s: %q, %q", name, got, reason)
		}
	}
}

// TestChooseEncoding: as little as possible decides, so that short lines do not wait.
func TestChooseEncoding(t *testing.T) {
	for name, test := range map[string]struct {
		head string
		want Decoder
	}{
		"nothing":                  {"", nil},
		"one byte":                 {"a", nil},
		"UTF-8":                    {"a\n", Plain{}},
		"UTF-8 with mark":          {"\xef\xbb\xbfa", Plain{}},
		"little endian mark":       {"\xff\xfe", UTF16{}},
		"big endian mark":          {"\xfe\xff", UTF16{BigEndian: true}},
		"perhaps without mark":     {le("line"), nil},
		"little endian":            {le("first line"), UTF16{}},
		"big endian":               {be("first line"), UTF16{BigEndian: true}},
		"UTF-32, not decoded":      {"\xff\xfe\x00\x00a\x00\x00\x00" + strings.Repeat("\x00", 8), Plain{}},
		"Latin-1":                  {"\xff\xe9t\xe9 de la ville de Paris", Plain{}},
		"NULs of a truncated file": {string(make([]byte, 64)), Plain{}},
	} {
		if got := chooseEncoding([]byte(test.head), false); got != test.want {
			t.Errorf("%s: %#v, want %#v", name, got, test.want)
		}
		if got := chooseEncoding([]byte(test.head), true); got == nil || test.want != nil && got != test.want {
			t.Errorf("%s, which is all: %#v", name, got)
		}
	}
}

// TestMismatch: what a file looks like is compared with how it is read.
func TestMismatch(t *testing.T) {
	const text = "2026-11-26 a line of some text\n"
	for name, test := range map[string]struct {
		d          Decoder
		head, want string
	}{
		"UTF-16 as UTF-8":            {Plain{}, "\xff\xfe" + le(text), "it is read as utf-8"},
		"the same in records":        {&Multiline{Of: Plain{}}, le(text), "it is read as utf-8"},
		"the other order":            {UTF16{}, be(text), "it is read as utf-16le"},
		"UTF-8 as UTF-16":            {UTF16{BigEndian: true}, text, "begins with ASCII, and it is read as utf-16be"},
		"UTF-32 as UTF-16":           {UTF16{}, "\xff\xfe\x00\x00a\x00\x00\x00", "UTF-32LE, and it is read as utf-16le"},
		"UTF-8":                      {Plain{}, text, ""},
		"UTF-16":                     {UTF16{}, "\xff\xfe" + le(text), ""},
		"Chinese, which has no NULs": {UTF16{}, le(strings.Repeat("\u8a9e", 20)), ""},
		"in records":                 {&Multiline{Of: UTF16{}}, le(text), ""},
	} {
		got, sure := Mismatch(test.d, []byte(test.head))
		if test.want == "" && got != "" || !strings.Contains(got, test.want) || !sure {
			t.Errorf("%s: %q, sure %v", name, got, sure)
		}
	}
	if reason, sure := Mismatch(Plain{}, []byte("a\n")); reason != "" || sure {
		t.Error("two bytes are enough")
	}
}

// TestOptions: every format and encoding has its decoder, records around it, and each mistake
// its message.
func TestOptions(t *testing.T) {
	head := []byte("\xfe\xff\x00a")
	for _, test := range []struct {
		o    Options
		want Decoder
		err  string
	}{
		{o: Options{}, want: Plain{}},
		{o: Options{Format: "plain", Encoding: "utf-8"}, want: Plain{}},
		{o: Options{Encoding: "utf-16le"}, want: UTF16{}},
		{o: Options{Encoding: "utf-16be"}, want: UTF16{BigEndian: true}},
		{o: Options{Encoding: "auto"}, want: UTF16{BigEndian: true}},
		{o: Options{Encoding: "latin-1"}, err: "encoding \"latin-1\": want one of"},
		{o: Options{Format: "xml"}, err: "format \"xml\": want one of"},
	} {
		err := test.o.Check()
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%+v: %v", test.o, err)
			}
			continue
		}
		if err != nil || test.o.Choose(head, false) != test.want {
			t.Errorf("%+v: %v", test.o, err)
			continue
		}
		test.o.Multiline = multiline(nil)
		if m, ok := test.o.Choose(head, false).(*Multiline); !ok || m.Of != test.want || m.First != dated {
			t.Errorf("%+v: %v", test.o, err)
		}
	}
}
