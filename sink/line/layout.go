// Package line is the format of a line in the log: how it is laid out, how it is parsed
// again, and how lines are filtered.
package line

import (
	"bytes"
	"fmt"

	"fanin/internal/escape"
	"fanin/internal/lines"
	"fanin/internal/wire"
)

// Layout turns lines of a batch into lines of the file. The three formats:
//
//	syslog  2026-11-22T17:00:00.123456Z web01 nginx: the line
//	json    {"ObservedTimestamp":"2026-11-22T17:00:00.123456Z","host.name":"web01",
//	        "service.name":"nginx","Body":"the line"}, in one line
//	raw     the line
//
// Where the line has a time of its own, syslog shows that one, and json has it as
// "Timestamp" behind the time at which the line was read. Json has attributes of a line,
// where there are some, before "Body": "Attributes":{"PRIORITY":"3"}.
//
// One line in is one line out, whatever its bytes are: a newline inside a record of
// several lines is written as #012, in json as \u000a. In the first two, a line is harmless
// to look at: see package escape. One CR before the newline is dropped. Raw changes
// nothing else.
type Layout struct {
	format string
	suffix string

	prefixes *prefixes
	marks    []wire.Mark // of the batch, those ahead
	at       int         // bytes of the batch's text that were laid out
	joined   bool        // its lines may be records of several lines
	record   []byte      // the last of these
	counts               // of what was laid out
}

// NewLayout returns the layout of a format.
func NewLayout(format string) (*Layout, error) {
	switch format {
	case "syslog", "raw":
		return &Layout{format: format, suffix: "\n", prefixes: newPrefixes(format)}, nil
	case "json":
		return &Layout{format: format, suffix: "\"}\n", prefixes: newPrefixes(format)}, nil
	}
	return nil, fmt.Errorf("format %q: want \"syslog\", \"json\" or \"raw\"", format)
}

// Begin begins a batch that was read at micros, in microseconds since 1970. Its
// labels are host and source, but for its marks.
func (l *Layout) Begin(micros int64, host, source string, marks []wire.Mark) {
	l.setMinute(Minute(micros))
	if l.format == "raw" {
		host, source = "", ""
	}
	l.prefixes.begin(micros, host, source)
	l.marks, l.at, l.joined = marks, 0, false
}

// BeginBatch is Begin for a batch, with the host and source that the file shows for it.
func (l *Layout) BeginBatch(b *wire.Batch, host, source string) {
	l.Begin(b.Time, host, source, b.Marks)
	l.joined = b.Joined
}

// Append lays the next lines of the batch's text out behind dst and counts them.
// Text is whole lines, each ending in a newline.
func (l *Layout) Append(dst, text []byte) ([]byte, int) {
	count := 0
	if l.format == "raw" {
		count = lines.Count(text)
		l.add(l.prefixes.now, count)
		return l.appendRaw(dst, text), count
	}
	for len(text) > 0 {
		if len(l.marks) > 0 && l.marks[0].Text <= l.at {
			l.prefixes.change(&l.marks[0].Labels)
			l.marks = l.marks[1:]
		}
		run := text
		if len(l.marks) > 0 {
			run = text[:min(len(text), l.marks[0].Text-l.at)]
		}
		var n int
		dst, n = l.appendRun(dst, run)
		count += n
		l.add(l.prefixes.now, n)
		l.at += len(run)
		text = text[len(run):]
	}
	return dst, count
}

// appendRun lays lines with the same labels out. Most lines are printable, and need no escaping:
// what finds that finds their ends, too.
func (l *Layout) appendRun(dst, text []byte) (out []byte, lines int) {
	prefix := l.prefixes.now.text
	for ; len(text) > 0; lines++ {
		n := l.unescaped(text)
		dst = append(append(dst, prefix...), text[:n]...)
		if text[n] != '\n' {
			rest := text[n : n+bytes.IndexByte(text[n:], '\n')]
			dst = l.appendEscaped(dst, rest)
			n += len(rest)
		}
		dst = append(dst, l.suffix...)
		text = text[n+1:]
	}
	return dst, lines
}

// unescaped is how many bytes at the beginning of text certainly stay as they are.
func (l *Layout) unescaped(text []byte) int {
	if l.format == "json" {
		return escape.Unquoted(text)
	}
	return escape.Printable(text)
}

// appendEscaped appends the rest of a line, of which something may have to be escaped.
func (l *Layout) appendEscaped(dst, rest []byte) []byte {
	rest = bytes.TrimSuffix(rest, carriageReturn)
	if l.joined {
		l.record = wire.AppendRecordText(l.record[:0], rest)
		rest = l.record
	}
	if l.format == "json" {
		return escape.JSON(dst, rest)
	}
	return escape.Line(dst, rest)
}

// appendRaw adds lines as they are, each record of several lines as one line.
func (l *Layout) appendRaw(dst, text []byte) []byte {
	if !l.joined {
		return append(dst, text...)
	}
	for line := range bytes.Lines(text) {
		l.record = wire.AppendRecordText(l.record[:0], line[:len(line)-1])
		dst = append(dst, bytes.ReplaceAll(l.record, newline, []byte("#012"))...)
		dst = append(dst, '\n')
	}
	return dst
}

var newline, carriageReturn = []byte{'\n'}, []byte{'\r'}
