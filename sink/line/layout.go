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

	prefix prefix
	marks  []wire.Mark // of the batch, those ahead
	at     int         // bytes of the batch's text that were laid out
	joined bool        // its lines may be records of several lines
	record []byte      // the last of these
	counts []Count     // of the last Append
}

// Count is how many neighbouring lines show the same names.
type Count struct {
	Host, Source string
	Lines        int
}

// NewLayout returns the layout of a format.
func NewLayout(format string) (*Layout, error) {
	switch format {
	case "syslog", "raw":
		return &Layout{format: format, suffix: "\n", prefix: prefix{format: format}}, nil
	case "json":
		return &Layout{format: format, suffix: "\"}\n", prefix: prefix{format: format}}, nil
	}
	return nil, fmt.Errorf("format %q: want \"syslog\", \"json\" or \"raw\"", format)
}

// Begin begins a batch that was read at micros, in microseconds since 1970. Its
// labels are host and source, but for its marks.
func (l *Layout) Begin(micros int64, host, source string, marks []wire.Mark) {
	l.prefix.begin(micros, host, source)
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
	l.counts = l.counts[:0]
	count := 0
	if l.format == "raw" {
		count = lines.Count(text)
		l.counts = append(l.counts, Count{Lines: count})
		return l.appendRaw(dst, text), count
	}
	for len(text) > 0 {
		if len(l.marks) > 0 && l.marks[0].Text <= l.at {
			l.prefix.change(&l.marks[0].Labels)
			l.marks = l.marks[1:]
		}
		run := text
		if len(l.marks) > 0 {
			run = text[:min(len(text), l.marks[0].Text-l.at)]
		}
		var n int
		dst, n = l.appendRun(dst, run)
		count += n
		l.count(n)
		l.at += len(run)
		text = text[len(run):]
	}
	return dst, count
}

// count counts lines that show the present names.
func (l *Layout) count(n int) {
	now := &l.prefix.now
	if last := len(l.counts) - 1; last >= 0 && l.counts[last].Host == now.host && l.counts[last].Source == now.source {
		l.counts[last].Lines += n
		return
	}
	l.counts = append(l.counts, Count{now.host, now.source, n})
}

// Counts returns how many lines the last Append laid out, by the names that they show; raw
// lines show none. It is valid until the next Append.
func (l *Layout) Counts() []Count { return l.counts }

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
		dst = append(dst, l.prefix.text...)
		if l.joined {
			l.record = wire.AppendRecordText(l.record[:0], line)
			line = l.record
		}
		dst = l.appendLine(dst, line)
		dst = append(dst, l.suffix...)
		lines++
	}
	return dst, lines
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

var newline = []byte{'\n'}

func (l *Layout) appendLine(dst, line []byte) []byte {
	if l.format == "json" {
		return escape.JSON(dst, line)
	}
	return escape.Line(dst, line)
}
