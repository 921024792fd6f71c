package plain

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"fanin/ingest"
	"fanin/ingest/stream"
)

var (
	nulsAtLineStart = regexp.MustCompile(`(?m)^\x00+`)
	nulsAtLineEnd   = regexp.MustCompile(`\x00+\n?`)
)

// endedByNewlines finds the ends of lines in another way than ingest.LineEnds.
func endedByNewlines(text string) string {
	return nulsAtLineEnd.ReplaceAllString(nulsAtLineStart.ReplaceAllString(text, ""), "\n")
}

// inPieces is text as a connection makes it that brings it in pieces of these sizes.
func inPieces(text, sizes []byte) string {
	c := &conn{in: &stream.Intake{Block: make([]byte, len(text)+1)}}
	var out []byte
	add := func(text []byte, whole bool) {
		c.messages.nuls = c.ends.NULs()
		for len(text) > 0 {
			msg, n := c.messages.next(text, 0, true)
			if text = text[n:]; msg != nil {
				out = append(out, msg...)
				if whole || len(text) > 0 {
					out = append(out, '\n')
				}
			}
		}
	}
	for i := 0; len(text) > 0; i++ {
		n := len(text)
		if i < len(sizes) {
			n = min(n, int(sizes[i]))
		}
		c.in.Have += copy(c.in.Block[c.in.Have:], text[:n])
		c.findEnds(n)
		text = text[n:]
		add(c.in.Block[:c.whole], true)
		c.in.Have = copy(c.in.Block, c.in.Block[c.whole:c.in.Have])
		c.whole = 0
	}
	if rest := c.in.Bytes(); len(rest) > 0 {
		add(append(rest, '\n'), false)
	}
	return string(out)
}

func FuzzEnds(f *testing.F) {
	for _, s := range []string{"", "a\n", "a\x00", "a\x00b\x00", "a\n\x00", "a\x00\n", "a\x00\x00\nb", "\x00\n", "\x00a", "a\x00\n\n", "a\n\x00\nb", "h\x00i\x00\n\x00", "\xff\xfe\x00", "<14>a\x00<14>b\nc\x00", "<1>", "<192>a\x00b"} {
		f.Add([]byte(s), []byte{1})
		f.Add([]byte(s), []byte{2, 1})
	}
	bare := strings.NewReplacer("\x00", "", "\n", "")
	f.Fuzz(func(t *testing.T, text, sizes []byte) {
		// Where syslog is spoken, each NUL ends a line.
		syslog := "<13>" + string(text)
		if got, want := inPieces([]byte(syslog), append([]byte{4}, sizes...)), endedByNewlines(syslog); got != want {
			t.Fatalf("%q in pieces %v became %q, want %q", syslog, sizes, got, want)
		}
		// Behind a line that ended with a newline, none does.
		lines := "begin\n" + string(text)
		if got := inPieces([]byte(lines), append([]byte{6}, sizes...)); got != lines {
			t.Fatalf("%q in pieces %v became %q", lines, sizes, got)
		}
		// Whatever it is, nothing but NULs and newlines goes or comes.
		if got := inPieces(bytes.Clone(text), sizes); bare.Replace(got) != bare.Replace(string(text)) {
			t.Fatalf("%q in pieces %v became %q", text, sizes, got)
		}
		if got := ingest.TrimEnd(bytes.Clone(text)); bare.Replace(string(got)) != bare.Replace(string(text)) {
			t.Fatalf("the message %q became %q", text, got)
		}
	})
}

func TestEnds(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if got := inPieces([]byte(text), nil); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
		if got := string(ingest.TrimEnd([]byte(text))); got != strings.TrimRight(strings.TrimSuffix(want, "\n"), "\x00") {
			t.Errorf("a datagram %q became %q, want %q", text, got, want)
		}
	}
	f("one\x00two\x00", "one\ntwo\n")
	f("{\"a\": 1}\x00{\"b\": 2}\x00", "{\"a\": 1}\n{\"b\": 2}\n")
	f("<14>one\x00<14>two\nmore\x00", "<14>one\n<14>two\nmore\n")
	f("<14>one\n<14>two\x00three\n", "<14>one\n<14>two\nthree\n")
	f("<14>one\x00\n<14>two\n\x00", "<14>one\n<14>two\n")
	f("a NUL \x00 within\n", "a NUL \x00 within\n")
	f("<b>bold</b>\x00 text\n", "<b>bold</b>\x00 text\n")
	f("<192>no priority \x00\n", "<192>no priority \x00\n")
	f("<0>one\x00two", "<0>one\ntwo")
}

func TestIsHTTP(t *testing.T) {
	for head, want := range map[string]bool{
		"GET / HTTP/1.1\r\n": true, "POST /a?b HTTP/1.0\nx": true, "PRI * HTTP/2.0\r\n\r\n": true,
		"GET / HTTP/1.1": false, "GET /x took 5 ms\n": false, "127.0.0.1 \"GET / HTTP/1.1\" 200\n": false, "": false, "get / HTTP/1.1\n": false,
	} {
		if isHTTP([]byte(head), false) != want {
			t.Errorf("isHTTP(%q) = %v", head, !want)
		}
	}
}
