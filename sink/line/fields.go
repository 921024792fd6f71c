package line

import (
	"bytes"
	"time"
)

// Fields are the parts of a laid-out line. They point into it.
type Fields struct {
	Time         []byte // RFC 3339 in UTC, with microseconds
	Host, Source []byte
	Body         []byte // as it stands in the file: escaped
}

// Parse takes a line of the file apart, as format lays it out. Of a raw
// line, and of one that others wrote into the file, all is body.
func Parse(format string, line []byte) Fields {
	line = bytes.TrimSuffix(line, newline)
	var f Fields
	ok := false
	switch format {
	case "syslog":
		f, ok = partsOfSyslog(line)
	case "json":
		f, ok = partsOfJSON(line)
	}
	if !ok {
		return Fields{Body: line}
	}
	return f
}

const (
	timeLayout = "2006-01-02T15:04:05.000000Z"
	timeSize   = len(timeLayout)
)

func partsOfSyslog(line []byte) (f Fields, ok bool) {
	if len(line) < timeSize+1 || line[timeSize-1] != 'Z' || line[timeSize] != ' ' {
		return f, false
	}
	rest := line[timeSize+1:]
	f.Time = line[:timeSize]
	f.Host, rest, ok = bytes.Cut(rest, []byte{' '})
	if !ok {
		return f, false
	}
	f.Source, f.Body, ok = bytes.Cut(rest, []byte(": "))
	return f, ok && bytes.IndexByte(f.Source, ' ') < 0
}

// partsOfJSON relies on the order in which layout writes the members; names hold
// no quotes and nothing that is escaped.
func partsOfJSON(line []byte) (f Fields, ok bool) {
	rest := line
	for _, part := range []struct {
		before string
		to     *[]byte
	}{{`{"ObservedTimestamp":"`, &f.Time}, {`","host.name":"`, &f.Host}, {`","service.name":"`, &f.Source}} {
		if rest, ok = bytes.CutPrefix(rest, []byte(part.before)); !ok {
			return f, false
		}
		end := bytes.IndexByte(rest, '"')
		if end < 0 {
			return f, false
		}
		*part.to, rest = rest[:end], rest[end:]
	}
	if rest, ok = bytes.CutPrefix(rest, []byte(`","Body":"`)); !ok {
		return f, false
	}
	f.Body, ok = bytes.CutSuffix(rest, []byte(`"}`))
	return f, ok
}

// Stamp is how a line's Time would be written: stamps compare as times do.
func Stamp(t time.Time) string { return t.UTC().Format(timeLayout) }
