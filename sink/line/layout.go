// Package line knows how a line stands in the log: how it is laid out, how it is
// taken apart again, and how lines are chosen.
package line

import (
	"bytes"
	"cmp"
	"fmt"
	"time"

	"fanin/internal/escape"
	"fanin/internal/lines"
	"fanin/internal/wire"
)

// Layout turns lines of a batch into lines of the file. The three formats:
//
//	syslog  2026-11-22T17:00:00.123456Z web01 nginx: the line
//	json    {"ObservedTimestamp":"2026-11-22T17:00:00.123456Z","host.name":"web01","service.name":"nginx","Body":"the line"}
//	raw     the line
//
// In the first two, one line in is one line out whatever its bytes are, and it is
// harmless to look at: see package escape. One CR before the newline is dropped.
// Raw changes nothing.
type Layout struct {
	format string
	suffix string

	// Of the batch being laid out:
	prefix []byte
	own    struct { // the labels of lines that no mark names others for
		host, source string
		time         int64
	}
	marks []wire.Mark // those ahead
	at    int         // bytes of its text that were laid out
}

// NewLayout returns the layout of a format.
func NewLayout(format string) (*Layout, error) {
	switch format {
	case "syslog", "raw":
		return &Layout{format: format, suffix: "\n"}, nil
	case "json":
		return &Layout{format: format, suffix: "\"}\n"}, nil
	}
	return nil, fmt.Errorf("format %q: want \"syslog\", \"json\" or \"raw\"", format)
}

// Begin begins a batch, whose labels are these but for its marks. Host and source
// were cleaned when they became known.
func (l *Layout) Begin(micros int64, host, source string, marks []wire.Mark) {
	l.own.time, l.own.host, l.own.source = micros, host, source
	l.marks, l.at = marks, 0
	l.setPrefix(micros, host, source)
}

// label sets the labels for the text from a mark on.
func (l *Layout) label(m *wire.Labels) {
	micros := l.own.time
	if !m.Time.IsZero() {
		micros = m.Time.UnixMicro()
	}
	l.setPrefix(micros, cmp.Or(m.Host, l.own.host), cmp.Or(m.Source, l.own.source))
}

func (l *Layout) setPrefix(micros int64, host, source string) {
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

// Append lays the next lines of the batch's text out behind dst and counts them.
// Text is whole lines, each ending in a newline.
func (l *Layout) Append(dst, text []byte) ([]byte, int) {
	if l.format == "raw" {
		return append(dst, text...), lines.Count(text)
	}
	count := 0
	for len(text) > 0 {
		if len(l.marks) > 0 && l.marks[0].Text <= l.at {
			l.label(&l.marks[0].Labels)
			l.marks = l.marks[1:]
		}
		run := text
		if len(l.marks) > 0 {
			run = text[:min(len(text), l.marks[0].Text-l.at)]
		}
		var n int
		dst, n = l.appendRun(dst, run)
		count += n
		l.at += len(run)
		text = text[len(run):]
	}
	return dst, count
}

// appendRun lays lines with the same labels out.
func (l *Layout) appendRun(dst, text []byte) ([]byte, int) {
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

func (l *Layout) appendLine(dst, line []byte) []byte {
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
