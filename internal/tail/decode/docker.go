package decode

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// Docker is the decoder of the files of Docker's json-file driver. A record is a JSON object
// on a line:
//
//	{"log":"the beginning of a line","stream":"stdout","time":"2016-10-06T00:17:09.669794202Z"}
//	{"log":", and its end\n","stream":"stdout","attrs":{"tag":"web"},"time":"2016-10-06T00:17:09.669794203Z"}
//
// A line ends in the record whose log ends in a newline; Docker divides long lines into
// records of 16 KiB. A line has the time of its first record. Docker writes no other newline
// into a log: one stays an escape, so that a record is not more than a line.
type Docker struct{}

// Scale is 2: the text is beside the raw bytes.
func (Docker) Scale() int { return 2 }

// Window returns the second half of a block; the first one is for the text.
func (Docker) Window(block []byte) []byte { return block[len(block)/2:] }

// LineStart returns the last place that is inside no line of a stream.
func (Docker) LineStart(raw []byte, offset int64) int {
	return lineStart(dockerRecords{}, raw, offset)
}

// Decode yields whole lines.
func (Docker) Decode(in Input) Lines { return join(dockerRecords{}, in) }

// dockerRecords are the records of Docker.
type dockerRecords struct{}

// What Docker writes before and behind a log, if a container's log has no attributes.
const (
	dockerLog    = `{"log":"`
	dockerStdout = `","stream":"stdout","time":"`
	dockerStderr = `","stream":"stderr","time":"`
)

func (r dockerRecords) read(c *clock, record []byte, whole bool) entry {
	e := entry{text: record, stream: noStream, unfit: true}
	if !whole {
		if at := logBegins(record); at > 0 {
			return entry{at: at, text: beforeEnd(record[at:]), open: true}
		}
		return e
	}
	if len(record) > len(dockerLog) && string(record[:len(dockerLog)]) == dockerLog {
		at := len(dockerLog)
		if end := at + stringEnd(record[at:]); end >= at && r.plainTail(c, record[end:], &e) {
			return e.logOf(record, at, end)
		}
	}
	return r.members(c, record)
}

// plainTail reads what follows a log without attributes.
func (dockerRecords) plainTail(c *clock, tail []byte, e *entry) bool {
	if len(tail) < len(dockerStdout) {
		return false
	}
	stream := uint8(0)
	switch string(tail[:len(dockerStdout)]) {
	case dockerStdout:
	case dockerStderr:
		stream = 1
	default:
		return false
	}
	tail = tail[len(dockerStdout):]
	t, n := c.read(tail)
	if n == 0 || string(tail[n:]) != `"}` {
		return false
	}
	e.time, e.stream, e.unfit = t, stream, false
	return true
}

// logOf makes e the entry whose log is at record[at:end].
func (e entry) logOf(record []byte, at, end int) entry {
	e.at, e.text, e.open, e.unfit = at, record[at:end], true, false
	if n := len(e.text); n >= 2 && e.text[n-1] == 'n' && backslashes(e.text[:n-1])%2 == 1 {
		e.text, e.open = e.text[:n-2], false
	}
	return e
}

// members reads a record with whatever members there are, in any order.
func (dockerRecords) members(c *clock, record []byte) entry {
	raw := entry{text: record, stream: noStream, unfit: true}
	var e entry
	at, end := -1, -1
	s := scanner{b: record}
	for s.next() {
		value := record[s.from:s.to]
		switch string(record[s.key:s.keyEnd]) {
		case `"log"`:
			at, end = s.from+1, s.to-1
		case `"stream"`:
			if string(value) == `"stderr"` {
				e.stream = 1
			}
		case `"time"`:
			t, n := c.read(bytes.Trim(value, `"`))
			if n != len(value)-2 {
				return raw
			}
			e.time = t
		}
	}
	if !s.ended || at < 0 || end < at || record[at-1] != '"' {
		return raw
	}
	return e.logOf(record, at, end)
}

// logBegins returns where the log begins in a record that is cut off; 0: it is no such record.
func logBegins(record []byte) int {
	n := 0
	for _, part := range []string{"{", `"log"`, ":", `"`} {
		rest := bytes.TrimLeft(record[n:], " ")
		if !bytes.HasPrefix(rest, []byte(part)) {
			return 0
		}
		n = len(record) - len(rest) + len(part)
	}
	return n
}

func (r dockerRecords) rest(c *clock, begin, rest []byte, whole bool) entry {
	if begin != nil && logBegins(begin) == 0 {
		return entry{text: rest, stream: noStream, unfit: true}
	}
	e := entry{text: rest, stream: noStream, open: true}
	end := stringEnd(rest)
	switch {
	case !whole:
		e.text = beforeEnd(rest)
	case end < 0:
		e.open, e.unfit = false, true // no record of Docker's after all
	case !r.plainTail(c, rest[end:], &e) && !looksLikeTail(rest[end:]):
		e.open, e.unfit = false, true
	default:
		return e.logOf(rest, 0, end)
	}
	return e
}

// beforeEnd returns the part of a log whose record is cut off that does not tell whether the
// line ends: without the last escapes before its quote.
func beforeEnd(log []byte) []byte {
	if end := stringEnd(log); end >= 0 {
		return log[:max(end-2*len(`\u000a`), 0)]
	}
	return log
}

// looksLikeTail reports whether b, which begins with the quote behind a log, ends a record.
func looksLikeTail(b []byte) bool {
	b = bytes.TrimLeft(b[1:], " ")
	return len(b) > 0 && (b[0] == ',' || b[0] == '}') && b[len(b)-1] == '}'
}

func (r dockerRecords) append(dst, text []byte, unfit bool) []byte {
	if unfit || bytes.IndexByte(text, '\\') < 0 {
		return append(dst, text...)
	}
	dst, _ = unescape(dst, text, len(text))
	return dst
}

func (r dockerRecords) appendPart(dst, text []byte, limit int, unfit bool) ([]byte, int) {
	if unfit {
		return criRecords{}.appendPart(dst, text, limit, unfit)
	}
	return unescape(dst, text, limit)
}

// unescape appends up to limit bytes of what a JSON string stands for. It returns how much of
// text that is: no escape and no rune is divided, and an escape that is cut off at the end of
// text is left.
func unescape(dst, text []byte, limit int) ([]byte, int) {
	full := len(dst) + limit
	at := 0
	for at < len(text) {
		next := bytes.IndexByte(text[at:], '\\')
		if next < 0 {
			next = len(text) - at
		}
		if room := full - len(dst); next > room {
			_, n := criRecords{}.appendPart(nil, text[at:], max(room, 0), false)
			return append(dst, text[at:at+n]...), at + n
		}
		dst, at = append(dst, text[at:at+next]...), at+next
		if at == len(text) {
			break
		}
		var b [utf8.UTFMax]byte
		n, size := escape(b[:0], text[at:])
		if size == 0 || len(dst)+len(n) > full {
			return dst, at
		}
		dst, at = append(dst, n...), at+size
	}
	return dst, at
}

// escapes are what the short escapes of JSON stand for. That of a newline stays as it is.
const escapes = "\"\"\\\\//b\bf\fr\rt\t"

// escape appends what the escape that text begins with stands for, and returns its size;
// 0: it is cut off. What is no escape stands for itself.
func escape(dst, text []byte) ([]byte, int) {
	if len(text) < 2 {
		return dst, 0
	}
	if text[1] != 'u' {
		for i := 0; i < len(escapes); i += 2 {
			if escapes[i] == text[1] {
				return append(dst, escapes[i+1]), 2
			}
		}
		return append(dst, text[:2]...), 2
	}
	first, n := unicode(text)
	if n <= 0 {
		return append(dst, text[:-n]...), -n
	}
	if utf16.IsSurrogate(first) {
		second, m := unicode(text[6:])
		if pair := utf16.DecodeRune(first, second); m > 0 && pair != utf8.RuneError {
			return utf8.AppendRune(dst, pair), 12
		}
		if m == 0 && len(text) < 12 {
			return dst, 0 // the second half may follow
		}
	}
	if first == '\n' {
		return append(dst, `\n`...), 6
	}
	return utf8.AppendRune(dst, first), 6
}

// unicode reads "\u0041"; 0: it is cut off; below 0: as many bytes, negative, are no escape.
func unicode(text []byte) (r rune, n int) {
	if len(text) > 0 && text[0] != '\\' || len(text) > 1 && text[1] != 'u' {
		return 0, -1
	}
	for i := 2; i < 6; i++ {
		if i >= len(text) {
			return 0, 0
		}
		digit := bytes.IndexByte([]byte("0123456789abcdefABCDEF"), text[i])
		if digit < 0 {
			return 0, -2
		}
		if digit > 15 {
			digit -= 6
		}
		r = r<<4 | rune(digit)
	}
	return r, 6
}

// stringEnd returns where the quote is that ends the JSON string in b, whose first quote is
// before b; -1: there is none.
func stringEnd(b []byte) int {
	for at := 0; ; {
		n := bytes.IndexByte(b[at:], '"')
		if n < 0 {
			return -1
		}
		if at += n; at == 0 || b[at-1] != '\\' || backslashes(b[:at])%2 == 0 {
			return at
		}
		at++
	}
}

// backslashes counts those at the end of b.
func backslashes(b []byte) (n int) {
	for n < len(b) && b[len(b)-1-n] == '\\' {
		n++
	}
	return n
}
