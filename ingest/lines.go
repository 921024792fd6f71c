package ingest

import (
	"bytes"
	"unicode/utf8"

	"fanin/internal/wire"
)

// minLine is the shortest bound on lines: a piece must hold both marks and some text.
const minLine = 256

// overlong is where the first line of more than max bytes begins in text, or
// len(text). Lines are not looked at one by one: from each line's beginning it
// jumps to the last line end within reach.
func overlong(text []byte, max int) int {
	at := 0
	for len(text)-at > max {
		i := bytes.LastIndexByte(text[at:at+max], '\n')
		if i < 0 {
			return at
		}
		at += i + 1
	}
	return len(text)
}

// splitLong appends text, whole lines, to dst with every line of more than max
// bytes, its newline included, cut into marked pieces that are not longer.
func splitLong(dst, text []byte, max int) (out []byte, splits int) {
	for {
		i := overlong(text, max)
		dst = append(dst, text[:i]...)
		if text = text[i:]; len(text) == 0 {
			return dst, splits
		}
		dst, text, _ = splitLine(dst, text, max)
		splits++
	}
}

// splitLine cuts the first line of text, which is longer than max bytes. When
// text ends before the line does, rest is what there is of its last piece and
// goesOn says that SplitGoesOn belongs before it.
func splitLine(dst, text []byte, max int) (out, rest []byte, goesOn bool) {
	room := max - len(wire.SplitMark) - 1
	prefix := 0
	for {
		i := bytes.IndexByte(text[:min(len(text), max-prefix)], '\n')
		if i >= 0 {
			return append(dst, text[:i+1]...), text[i+1:], false
		}
		if len(text) <= max-prefix-1 {
			return dst[:len(dst)-prefix], text, prefix > 0
		}
		cut := wire.CutLine(text, room-prefix)
		dst = append(dst, text[:cut]...)
		dst = append(dst, wire.SplitMark...)
		dst = append(dst, '\n')
		dst = append(dst, wire.SplitGoesOn...)
		text, prefix = text[cut:], len(wire.SplitGoesOn)
	}
}

// ends knows what ends the lines of a connection, a datagram or a message. It is a newline.
// It is a NUL, too, where syslog is spoken, for several senders, Python's SysLogHandler
// among them, end each message with a NUL and nothing else (RFC 6587, 3.4.2): where
// the text begins with a priority, or where it comes to an end with a NUL and no newline
// was there yet. Elsewhere a NUL is a byte of a line like any other.
//
// Where NULs end lines, several of them, and a newline behind them, are one end, and a
// NUL where no line has begun is none. From a priority on, the outcome does not depend on
// how the text came in pieces.
type ends struct {
	known bool // what ends lines
	nuls  bool // NULs do
	byNUL bool // the line before ended with a NUL, and nothing came since
}

// look decides, if it can, what ends the lines of a text from its beginning on, of which
// the last n bytes are new.
func (e *ends) look(text []byte, n int) {
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
func (e *ends) normal(text []byte, begun bool) []byte {
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

func countLines(text []byte) int { return bytes.Count(text, newline) }

var newline = []byte{'\n'}

// splitSize is how many bytes n bytes of text have at most after splitting.
func splitSize(n, max int) int {
	marks := len(wire.SplitMark) + 1 + len(wire.SplitGoesOn)
	return n + (n/(max-marks-utf8.UTFMax)+1)*marks
}
