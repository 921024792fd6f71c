package plain

import (
	"bytes"

	"fanin/ingest"
	"fanin/ingest/syslog"
)

// frames finds where the messages of a connection end. Each message shows what ends it: one with
// an octet count (RFC 6587) ends where the count says, any other is a line. Lines end with a
// newline, and where NULs end lines (see ingest.LineEnds), also with a NUL: from the first
// priority on, they do. The outcome does not depend on how the bytes came in blocks.
//
// Of lines that are no syslog, it looks for the first '<' of each only.
type frames struct {
	syslog bool              // octet counts and priorities are looked for
	every  bool              // every message is one of syslog
	limit  int               // a message with a count is cut to so many bytes
	wrong  func(string, int) // is told what is wrong with a frame, and a number of bytes

	nuls bool // NULs end lines
	line bool // the message that has begun is a line

	// Of a message with a count that has begun:
	head   int // the bytes of its count
	size   int // all its bytes, as far as they are kept; 0: none has begun
	beyond int // the bytes behind those

	skip    int  // bytes that come next, and are of no message
	counted bool // the message before had a count
	trailer bool // a newline that comes next belongs to the end of the message before
	special bool // not all messages that have ended are lines to be taken as they are
}

// What may be wrong with a frame.
const (
	wrongNumber = "number"   // no count: it is not 1 to 999,999,999, or begins with 0
	wrongLength = "length"   // what is behind a counted message is none, so the count is too small
	tooLong     = "too_long" // the count is larger than allowed: the rest was skipped
	cutShort    = "cut"      // the connection ended within a counted message
)

// advance returns the end of the last whole message in block, of which those until whole are
// known, and the bytes until seen have no end of a line.
func (f *frames) advance(block []byte, whole, seen int) int {
	nuls := f.mayHaveNULs(block[max(whole, seen):])
	f.special = f.special || f.every
	for whole < len(block) && f.skip == 0 {
		rest := block[whole:]
		if f.size == 0 && !f.line {
			before := f.nuls
			if !f.begin(rest) {
				return whole
			}
			if f.nuls != before {
				nuls = f.mayHaveNULs(rest)
			}
		}
		if f.size > 0 {
			if len(rest) < f.size {
				return whole
			}
			whole += f.size
			f.skip, f.size, f.head, f.beyond = f.beyond, 0, 0, 0
			f.counted, f.trailer, f.special = true, true, true
			continue
		}
		from := max(seen-whole, 0)
		end := lineEnd(rest[from:], nuls)
		if end < 0 {
			return whole
		}
		end += from
		f.ended(rest[:end], rest[end])
		whole += end + 1
		if !nuls {
			whole += f.lines(block[whole:])
		}
	}
	return whole
}

func (f *frames) mayHaveNULs(b []byte) bool { return f.nuls && bytes.IndexByte(b, 0) >= 0 }

// lineEnd returns where a line ends in b; < 0: not there.
func lineEnd(b []byte, nuls bool) int {
	if !nuls {
		return bytes.IndexByte(b, '\n')
	}
	for i, c := range b {
		if c == '\n' || c == 0 {
			return i
		}
	}
	return -1
}

// begin finds out what the message is that b begins with; false: more bytes must decide.
func (f *frames) begin(b []byte) bool {
	f.line = true
	if !f.syslog {
		return true
	}
	if b[0] == '<' {
		_, size := ingest.Priority(b)
		f.nuls = f.nuls || size > 0
		f.line = size > 0 || len(b) >= len("<191>") || lineEnd(b, true) >= 0
		return f.line
	}
	head, size, more := syslog.Count(b)
	if f.line = head == 0 && !more; head == 0 {
		return f.line
	}
	if f.beyond = max(size-f.limit, 0); f.beyond > 0 {
		f.wrong(tooLong, f.beyond)
	}
	f.head, f.size = head, head+size-f.beyond
	return true
}

// ended notes that a line ended.
func (f *frames) ended(line []byte, end byte) {
	f.line = false
	special := f.trailer || end == 0
	if f.syslog {
		_, size := ingest.Priority(line)
		special = special || size > 0
		switch {
		case syslog.WrongCount(line):
			f.wrong(wrongNumber, len(line))
		case f.counted && size == 0 && len(line) > 0:
			f.wrong(wrongLength, len(line))
		}
	}
	f.special = f.special || special
	f.counted, f.trailer = false, end == 0 && (f.trailer || len(line) > 0)
}

// lines returns the length of the whole lines that b begins with, until the first that needs a
// closer look.
func (f *frames) lines(b []byte) int {
	if f.syslog {
		b = b[:f.find(b)]
	}
	return bytes.LastIndexByte(b, '\n') + 1
}

// find returns where the first line begins in b that has a number before a '<', or the first
// priority of the connection. All lines with a priority or a count have their first '<' there,
// so it looks at no other.
func (f *frames) find(b []byte) int {
	for at := 0; at < len(b); {
		i := at
		if b[at] != '<' {
			n := bytes.IndexByte(b[at:], '<')
			if n < 0 {
				break
			}
			i += n
		}
		if i == 0 || b[i-1] == '\n' {
			switch _, size := ingest.Priority(b[i:]); {
			case size == 0:
			case !f.nuls:
				return i
			default:
				f.special = true
			}
		} else if begin := countBegin(b, i); begin >= 0 {
			return begin
		}
		end := bytes.IndexByte(b[i:], '\n')
		if end < 0 {
			break
		}
		at = i + end + 1
	}
	return len(b)
}

// countBegin returns the beginning of a line that has nothing but a number before the '<' at i;
// < 0: there is something else.
func countBegin(b []byte, i int) int {
	if b[i-1] != ' ' {
		return -1
	}
	begin := i - 1
	for begin > 0 && '0' <= b[begin-1] && b[begin-1] <= '9' {
		begin--
	}
	if begin == i-1 {
		return -1
	}
	if begin > 0 && b[begin-1] == '-' {
		begin--
	}
	if begin > 0 && b[begin-1] != '\n' {
		return -1
	}
	return begin
}
