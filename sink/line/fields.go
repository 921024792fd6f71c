package line

import "bytes"

// Fields are the parts of a laid-out line. They point into it.
type Fields struct {
	Time         []byte // that the line shows: RFC 3339 in UTC, with microseconds
	Read         []byte // when the line was read; in format syslog, that is Time
	Host, Source []byte
	Attributes   []byte // of format json: the members of the object, without its braces; nil: there are none
	Body         []byte // as in the file: escaped
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

func partsOfSyslog(line []byte) (f Fields, ok bool) {
	if len(line) < timeSize+1 || line[timeSize-1] != 'Z' || line[timeSize] != ' ' {
		return f, false
	}
	rest := line[timeSize+1:]
	f.Time, f.Read = line[:timeSize], line[:timeSize]
	f.Host, rest, ok = bytes.Cut(rest, []byte{' '})
	if !ok {
		return f, false
	}
	f.Source, f.Body, ok = bytes.Cut(rest, []byte(": "))
	return f, ok && bytes.IndexByte(f.Source, ' ') < 0
}

// partsOfJSON relies on the order in which prefix writes the members; names hold
// no quotes and nothing that is escaped.
func partsOfJSON(line []byte) (f Fields, ok bool) {
	rest := line
	if f.Read, rest, ok = member(rest, `{"ObservedTimestamp":"`); !ok {
		return f, false
	}
	if f.Time, rest, ok = member(rest, `","Timestamp":"`); !ok {
		f.Time = f.Read
	}
	if f.Host, rest, ok = member(rest, `","host.name":"`); !ok {
		return f, false
	}
	if f.Source, rest, ok = member(rest, `","service.name":"`); !ok {
		return f, false
	}
	if attributes, found := bytes.CutPrefix(rest, []byte(`","Attributes":{`)); found {
		const end = `"},"Body":"` // a quote in a value has a backslash before it
		if _, rest, ok = bytes.Cut(attributes, []byte(end)); ok {
			f.Attributes = attributes[:len(attributes)-len(rest)-len(end)+1]
		}
	} else {
		rest, ok = bytes.CutPrefix(rest, []byte(`","Body":"`))
	}
	if !ok {
		return f, false
	}
	f.Body, ok = bytes.CutSuffix(rest, []byte(`"}`))
	return f, ok
}

// member takes the value of a member off the beginning of line, as far as its quote.
func member(line []byte, begin string) (value, rest []byte, ok bool) {
	if rest, ok = bytes.CutPrefix(line, []byte(begin)); !ok {
		return nil, line, false
	}
	end := bytes.IndexByte(rest, '"')
	if end < 0 {
		return nil, line, false
	}
	return rest[:end], rest[end:], true
}
