package sink

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"
	"unicode/utf8"
)

// layout turns lines of a batch into lines of the file. The three formats:
//
//	syslog  2026-11-22T17:00:00.123456Z web01 nginx: the line
//	json    {"ObservedTimestamp":"2026-11-22T17:00:00.123456Z","host.name":"web01","service.name":"nginx","Body":"the line"}
//	raw     the line
//
// In the first two, one line in is one line out whatever its bytes are: control
// bytes but TAB become #ooo (syslog, as rsyslog writes them) or \u00xx (json),
// and one CR before the newline is dropped. Raw changes nothing.
type layout struct {
	format string
	prefix []byte // of the batch being laid out
	suffix string
}

func newLayout(format string) (*layout, error) {
	switch format {
	case "syslog", "raw":
		return &layout{format: format, suffix: "\n"}, nil
	case "json":
		return &layout{format: format, suffix: "\"}\n"}, nil
	}
	return nil, fmt.Errorf("format %q: want \"syslog\", \"json\" or \"raw\"", format)
}

// begin makes the prefix that all lines of a batch share. Host and source were
// cleaned when they became known.
func (l *layout) begin(micros int64, host, source string) {
	p := l.prefix[:0]
	switch l.format {
	case "syslog":
		p = appendTime(p, micros)
		p = append(append(p, ' '), host...)
		p = append(append(p, ' '), source...)
		p = append(p, ": "...)
	case "json":
		p = append(p, `{"ObservedTimestamp":"`...)
		p = appendTime(p, micros)
		p = append(append(p, `","host.name":"`...), host...)
		p = append(append(p, `","service.name":"`...), source...)
		p = append(p, `","Body":"`...)
	}
	l.prefix = p
}

// append lays the lines of text out behind dst and counts them. Text is whole
// lines, each ending in a newline.
func (l *layout) append(dst, text []byte) ([]byte, int) {
	if l.format == "raw" {
		return append(dst, text...), bytes.Count(text, newline)
	}
	lines := 0
	for len(text) > 0 {
		n := bytes.IndexByte(text, '\n')
		line := text[:n]
		text = text[n+1:]
		if n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		}
		dst = append(dst, l.prefix...)
		dst = l.appendLine(dst, line)
		dst = append(dst, l.suffix...)
		lines++
	}
	return dst, lines
}

var newline = []byte{'\n'}

func (l *layout) appendLine(dst, line []byte) []byte {
	switch {
	case l.format == "json":
		return appendJSON(dst, line)
	case clean(line):
		return append(dst, line...)
	}
	return appendEscaped(dst, line)
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// clean reports whether line holds no control byte but TAB. It looks at four
// times eight bytes at a time: nearly every line is clean, and this is the one
// thing done to every byte besides copying it.
func clean(line []byte) bool {
	le := binary.LittleEndian
	for len(line) >= 32 {
		a, b, c, d := le.Uint64(line), le.Uint64(line[8:]), le.Uint64(line[16:]), le.Uint64(line[24:])
		if (suspect(a)|suspect(b)|suspect(c)|suspect(d))&highs != 0 && !cleanSlow(line[:32]) {
			return false
		}
		line = line[32:]
	}
	for len(line) >= 8 {
		if suspect(le.Uint64(line))&highs != 0 && !cleanSlow(line[:8]) {
			return false
		}
		line = line[8:]
	}
	return cleanSlow(line)
}

// suspect has a high bit set if one of w's eight bytes is below 0x20 or is 0x7f.
// It may also be set for others, never the other way round.
func suspect(w uint64) uint64 {
	del := w ^ 0x7f*ones
	return (w-0x20*ones)&^w | (del-ones)&^del
}

func cleanSlow(line []byte) bool {
	for _, c := range line {
		if isControl(c) {
			return false
		}
	}
	return true
}

func isControl(c byte) bool { return c < 0x20 && c != '\t' || c == 0x7f }

// appendEscaped writes control bytes as rsyslog does: # and three octal digits.
func appendEscaped(dst, line []byte) []byte {
	for _, c := range line {
		if isControl(c) {
			dst = append(dst, '#', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// appendJSON writes the inside of a JSON string (RFC 8259). Bytes that are no
// UTF-8 become U+FFFD, because a JSON text cannot hold them.
func appendJSON(dst, line []byte) []byte {
	const hex = "0123456789abcdef"
	for i := 0; i < len(line); {
		c := line[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20 || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			r, n := utf8.DecodeRune(line[i:])
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		}
		i++
	}
	return dst
}

// appendTime writes RFC 3339 in UTC with microseconds.
func appendTime(dst []byte, micros int64) []byte {
	t := time.UnixMicro(micros).UTC()
	if y := t.Year(); y < 0 || y > 9999 {
		t = time.Unix(0, 0).UTC() // a peer's clock can say anything, the layout cannot
	}
	return t.AppendFormat(dst, "2006-01-02T15:04:05.000000Z")
}

// cleanName keeps [A-Za-z0-9._/:-] of a host, and for a source all but ':',
// and puts '_' for what it drops: a name can neither end the prefix early nor
// begin another line.
func cleanName(name string, colon bool, empty string) string {
	ok := func(c byte) bool {
		return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c == '.' || c == '_' || c == '/' || c == '-' || c == ':' && colon
	}
	b := []byte(name)
	for i, c := range b {
		if !ok(c) {
			b[i] = '_'
		}
	}
	if len(b) == 0 {
		return empty
	}
	return string(b)
}
