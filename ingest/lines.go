package ingest

import (
	"bytes"
)

// ends knows what ends the lines of a connection, a datagram or a message. It is a newline.
// It is a NUL, too, where syslog is spoken, for several senders, Python's SysLogHandler
// among them, end each message with a NUL and nothing else (RFC 6587, 3.4.2): where
// the text begins with a priority, or where it comes to an end with a NUL and no newline
// was there yet. Elsewhere a NUL is a byte of a line like any other.
//
// Where NULs end lines, several of them, and a newline behind them, are one end, and a
// NUL where no line has begun is none. From a priority on, the outcome does not depend on
// how the text came in pieces.
type LineEnds struct {
	known bool // what ends lines
	nuls  bool // NULs do
	byNUL bool // the line before ended with a NUL, and nothing came since
}

// look decides, if it can, what ends the lines of a text from its beginning on, of which
// the last n bytes are new.
func (e *LineEnds) look(text []byte, n int) {
	switch {
	case hasPriority(text):
		e.known, e.nuls = true, true
	case bytes.IndexByte(text[len(text)-n:], '\n') >= 0:
		e.known = true
	case len(text) > 0 && text[len(text)-1] == 0:
		e.known, e.nuls = true, true
	}
}

// hasPriority reports whether text begins as a message of syslog does: <0> to <191>.
func hasPriority(text []byte) bool {
	if len(text) < 3 || text[0] != '<' {
		return false
	}
	end := bytes.IndexByte(text[:min(len(text), 5)], '>')
	if end < 2 {
		return false
	}
	n := 0
	for _, b := range text[1:end] {
		if b < '0' || b > '9' {
			return false
		}
		n = 10*n + int(b-'0')
	}
	return n <= 191
}

// normal is text with newlines only, made in place, where NULs end lines; begun says that
// a line has begun before it.
func (e *LineEnds) normal(text []byte, begun bool) []byte {
	if len(text) == 0 || !e.byNUL && bytes.IndexByte(text, 0) < 0 {
		return text
	}
	out := text[:0]
	for len(text) > 0 {
		if e.byNUL && text[0] == '\n' {
			text, e.byNUL = text[1:], false
			continue
		}
		n := bytes.IndexByte(text, 0)
		if n < 0 {
			n = len(text)
		}
		if n > 0 {
			out = append(out, text[:n]...)
			begun, e.byNUL = text[n-1] != '\n', false
		}
		if n == len(text) {
			break
		}
		if begun {
			out = append(out, '\n')
			begun, e.byNUL = false, true
		}
		text = text[n+1:]
	}
	return out
}

var newline = []byte{'\n'}
