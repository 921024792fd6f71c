package gelf

import "bytes"

// framer finds the ends of the messages of a connection. GELF over TCP ends each with a NUL;
// several senders end them with a newline instead. What ends the first message ends them
// all: a NUL, or a newline outside of its braces. So a JSON text with newlines inside is one
// message where NULs end messages.
type framer struct {
	end   byte // what ends messages, if that is known
	known bool
	at    int // bytes that were looked at

	begun  bool // as long as nothing is known: there was more than blanks
	depth  int  // of braces
	quoted bool
	escape bool // the last byte of a string is a backslash
}

// next returns the length of the message at the beginning of b, and of the message with what
// ends it; ok is false if its end has not come. b begins where the last message ended, or
// has more of what it had.
func (f *framer) next(b []byte) (length, size int, ok bool) {
	if !f.known {
		f.look(b)
		if !f.known {
			return 0, 0, false
		}
	}
	n := bytes.IndexByte(b[f.at:], f.end)
	if n < 0 {
		f.at = len(b)
		return 0, 0, false
	}
	length, f.at = f.at+n, 0
	return length, length + 1, true
}

// settle decides what ends messages, of which the first one does not end: a newline, if it
// has any. again reports that messages have ended by that.
func (f *framer) settle(b []byte) (again bool) {
	if f.known {
		return false
	}
	f.known, f.at = true, 0
	if bytes.IndexByte(b, '\n') >= 0 {
		f.end = '\n'
	}
	return bytes.IndexByte(b, f.end) >= 0
}

// look looks for the end of the first message. What precedes it, blanks and ends, does not
// end it.
func (f *framer) look(b []byte) {
	for ; f.at < len(b); f.at++ {
		c := b[f.at]
		if !f.begun {
			if isBlank(c) {
				continue
			}
			f.begun = true
		}
		switch {
		case c == 0 || c == '\n' && f.depth <= 0 && !f.quoted:
			f.end, f.known = c, true
			return
		case f.escape:
			f.escape = false
		case f.quoted:
			f.escape, f.quoted = c == '\\', c != '"'
		case c == '"':
			f.quoted = true
		case c == '{':
			f.depth++
		case c == '}':
			f.depth--
		}
	}
}

func isBlank(c byte) bool {
	return c <= ' ' && (c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == 0)
}
