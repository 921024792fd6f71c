package redis

import (
	"unicode/utf8"

	"fanin/internal/redisconn"
)

// entryText is what becomes of an entry's fields.
type entryText struct {
	text     []byte // whole lines; empty: it has none
	tooLarge bool   // what is wanted was longer than allowed; text has the rest
	whole    bool   // the field was not there, so text is the whole entry
}

// text makes lines of an entry's fields, which are names and values in turn. The lines are
// valid until the next call.
//
// An entry may have the field several times: each has lines then. Where it has none, the whole
// entry becomes one line of JSON: names and values as strings, in their order.
func (s *streamReader) text(fields redisconn.Value) (t entryText) {
	s.line = s.line[:0]
	if _, skipped := fields.Skipped(); skipped { // it has too many
		s.n.Metrics.skipped.Inc()
		return entryText{tooLarge: true}
	}
	if s.n.Streams.Message != "" {
		found, wanted := false, false
		for i, v := range fields.All() {
			if i%2 == 0 {
				wanted = string(v.Bytes()) == s.n.Streams.Message
				continue
			}
			if !wanted {
				continue
			}
			found = true
			if _, skipped := v.Skipped(); skipped {
				s.n.Metrics.skipped.Inc()
				t.tooLarge = true
				continue
			}
			s.line = s.n.lines(s.counts, s.line, v.Bytes())
		}
		if found {
			t.text = s.line
			return t
		}
		t.whole = true
	}
	s.json, t.tooLarge = appendJSON(s.json[:0], fields)
	if t.tooLarge {
		s.n.Metrics.skipped.Inc()
	}
	s.line = s.n.lines(s.counts, s.line, s.json)
	t.text = s.line
	return t
}

// appendJSON appends an object with fields, which are names and values in turn. A value that
// was longer than allowed is null. Bytes that are not UTF-8 become U+FFFD.
func appendJSON(dst []byte, fields redisconn.Value) (out []byte, tooLarge bool) {
	dst = append(dst, '{')
	for i, v := range fields.All() {
		switch {
		case i%2 == 1:
			dst = append(dst, ':')
		case i > 0:
			dst = append(dst, ',')
		}
		if _, skipped := v.Skipped(); skipped {
			tooLarge = true
			if dst = append(dst, `null`...); i%2 == 0 {
				dst = append(dst[:len(dst)-len(`null`)], `""`...)
			}
			continue
		}
		dst = appendString(dst, v.Bytes())
	}
	return append(dst, '}'), tooLarge
}

// appendString appends a string of JSON.
func appendString(dst, s []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for len(s) > 0 {
		c := s[0]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c < ' ' || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			r, size := utf8.DecodeRune(s)
			dst = utf8.AppendRune(dst, r) // U+FFFD if it is none
			s = s[size:]
			continue
		}
		s = s[1:]
	}
	return append(dst, '"')
}
