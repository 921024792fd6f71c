package sink

import (
	"bytes"
	"fmt"
	"time"

	"fanin/internal/escape"
)

// layout turns lines of a batch into lines of the file. The three formats:
//
//	syslog  2026-11-22T17:00:00.123456Z web01 nginx: the line
//	json    {"ObservedTimestamp":"2026-11-22T17:00:00.123456Z","host.name":"web01","service.name":"nginx","Body":"the line"}
//	raw     the line
//
// In the first two, one line in is one line out whatever its bytes are, and it is
// harmless to look at: see package escape. One CR before the newline is dropped.
// Raw changes nothing.
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
	if l.format == "json" {
		return escape.JSON(dst, line)
	}
	return escape.Line(dst, line)
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
