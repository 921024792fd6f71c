package gelf

import (
	"bytes"

	"fanin/internal/lines"
	"fanin/internal/wire"
)

// keepBefore keeps what does not fit a label: as an attribute, or before the message.
func (x *Scanner) keepBefore(name, value []byte) {
	if x.s.JSON && x.addAttribute(name, value) {
		return
	}
	x.text = append(appendField(x.text, name, value), ' ')
}

// keep keeps another field: as an attribute; where it does not fit, at the end of the text.
// If the log has no attributes, it is there, or nowhere.
func (x *Scanner) keep(name, value []byte) {
	switch {
	case x.s.JSON && x.addAttribute(name, value):
	case x.s.JSON || x.s.KeepFields:
		x.text = appendField(append(x.text, ' '), name, value)
	}
}

// fieldName is the name of a field without the underscore that additional fields have, unless
// it would be a name of the format, or one of ours.
func fieldName(name []byte) []byte {
	plain, ok := bytes.CutPrefix(name, []byte{'_'})
	if !ok {
		return name
	}
	switch string(plain) {
	case "", "version", "host", "short_message", "full_message", "timestamp", "level", "facility", "line", "file",
		"severity":
		return name
	}
	return plain
}

// addAttribute reports whether a field is an attribute now: its name fits and is new, and
// there is space.
func (x *Scanner) addAttribute(name, value []byte) bool {
	g := &x.msg
	if len(g.attributed) == maxAttributes {
		return false
	}
	for _, other := range g.attributed {
		if bytes.Equal(other, name) {
			return false
		}
	}
	var ok bool
	if g.attributes, ok = wire.AppendAttribute(g.attributes, string(name), value); ok {
		g.attributed = append(g.attributed, name)
	}
	return ok
}

// appendField appends name=value, in quotes where a blank or the like could be misread.
func appendField(dst, name, value []byte) []byte {
	return appendQuoted(append(appendQuoted(dst, name), '='), value)
}

func appendQuoted(dst, word []byte) []byte {
	if len(word) > 0 && !bytes.ContainsAny(word, " \t\r\n\"=\\") {
		return append(dst, word...)
	}
	dst = append(dst, '"')
	for _, c := range word {
		if c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

// appendText appends a text as a line, or as several.
func (x *Scanner) appendText(dst, text []byte) []byte {
	if bytes.IndexByte(text, '\n') >= 0 || bytes.IndexByte(text, 0xc0) >= 0 { // else it is its own record
		x.record = wire.AppendRecord(x.record[:0], text)
		text = x.record
	}
	dst, divided := lines.SplitRecord(dst, text, x.s.MaxLine)
	if divided {
		x.lines.Split(1)
	}
	return dst
}
