package ingest

import (
	"bytes"
)

// LineEnds finds what ends the lines of a connection, a datagram or a message. It is a
// newline. It is a NUL, too, where syslog is spoken, for several senders, Python's
// SysLogHandler among them, end each message with a NUL and nothing else (RFC 6587,
// 3.4.2): where the text begins with a priority, or where it comes to an end with a NUL
// and no newline was there yet. Elsewhere a NUL is a byte of a line like any other.
//
// Where NULs end lines, several of them, and a newline behind them, are one end, and a
// NUL where no line has begun is none. From a priority on, the outcome does not depend
// on how the text came in pieces.
type LineEnds struct {
	known bool // it is decided what ends lines
	nuls  bool // NULs do
	byNUL bool // the line before ended with a NUL, and nothing came since
}

// Known reports whether it is decided what ends lines.
func (e *LineEnds) Known() bool { return e.known }

// NULs reports whether NULs end lines.
func (e *LineEnds) NULs() bool { return e.nuls }

// Detect decides, if it can, what ends the lines of a text from its beginning on, of
// which the last n bytes are new.
func (e *LineEnds) Detect(text []byte, n int) {
	_, priority := Priority(text)
	switch {
	case priority > 0:
		e.known, e.nuls = true, true
	case bytes.IndexByte(text[len(text)-n:], '\n') >= 0:
		e.known = true
	case len(text) > 0 && text[len(text)-1] == 0:
		e.known, e.nuls = true, true
	}
}

// Normalize returns text with newlines only, made in place, where NULs end lines. With
// begun, a line has begun before it.
func (e *LineEnds) Normalize(text []byte, begun bool) []byte {
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

// TrimEnd drops the end of the last line of a datagram or message, a newline or NULs or
// both, and makes newlines of NULs within where they end lines. It changes data.
func TrimEnd(data []byte) []byte {
	var e LineEnds
	if e.Detect(data, len(data)); e.nuls {
		return bytes.TrimSuffix(e.Normalize(data, false), newline)
	}
	data = bytes.TrimSuffix(bytes.TrimRight(data, "\x00"), newline)
	return bytes.TrimRight(data, "\x00")
}

var newline = []byte{'\n'}
