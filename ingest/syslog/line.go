package syslog

import "fanin/internal/wire"

// line is the line that becomes of a message: its text, and attributes if the log has them.
type line struct {
	json       bool
	verbatim   bool
	out        []byte
	empty      int // bytes of out before any text of the line, besides <PRI>
	attributes []byte
}

func (l *line) begin(dst []byte, json, verbatim bool) {
	l.out, l.empty, l.attributes, l.json, l.verbatim = dst, len(dst), l.attributes[:0], json, verbatim
}

// appendText appends a part of a message to a line.
func appendText(line, text []byte, verbatim bool) []byte {
	if verbatim {
		return append(line, text...)
	}
	return wire.AppendRecord(line, text)
}

// head puts <PRI> before the text.
func (l *line) head(b []byte) {
	l.out = append(l.out, b...)
	l.empty = len(l.out)
}

// add adds to the text, with a space between.
func (l *line) add(b []byte) {
	if len(b) == 0 {
		return
	}
	if len(l.out) > l.empty {
		l.out = append(l.out, ' ')
	}
	l.out = appendText(l.out, b, l.verbatim)
}

// keep keeps a field of the header that is in no label: as an attribute, or in the text as
// name=value.
func (l *line) keep(name string, value []byte) {
	if len(value) == 0 || l.json && l.attribute(name, value) {
		return
	}
	if len(l.out) > l.empty {
		l.out = append(l.out, ' ')
	}
	l.out = appendText(append(append(l.out, name...), '='), value, l.verbatim)
}

// attribute adds an attribute; false: there is no room for it.
func (l *line) attribute(name string, value []byte) (ok bool) {
	l.attributes, ok = wire.AppendAttribute(l.attributes, name, value)
	return ok
}
