package gelf

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// kind is what a value of a member is.
type kind byte

const (
	scalar    kind = iota // a number, true, false, null, and what is written like them
	text                  // a string, without its quotes
	composite             // an object or a list
)

// member is a member of a JSON object (RFC 8259). Its bytes are those of the message: numbers
// keep their digits, and bytes that are not UTF-8 stay.
type member struct {
	name, value          []byte
	kind                 kind
	escapedName, escaped bool // they have escapes
}

// maxMembers bounds the members of a message, so that one of nothing else takes little more
// memory than its bytes.
const maxMembers = 1024

// object reads an object, and returns its members and the bytes behind it. It is as lenient
// as it can be without misplacing a member: strings may have control characters, and lists
// and objects need only be balanced. ok is false if b does not begin with an object, or it
// has too many members.
func object(b []byte, to []member) (members []member, rest []byte, ok bool) {
	s := scanner{b: b}
	if !s.skip('{') {
		return to, b, false
	}
	if s.skip('}') {
		return to, s.b[s.at:], true
	}
	for len(to) < maxMembers {
		m, ok := s.member()
		if !ok {
			return to, b, false
		}
		to = append(to, m)
		if s.skip('}') {
			return to, s.b[s.at:], true
		}
		if !s.skip(',') {
			return to, b, false
		}
	}
	return to, b, false
}

// scanner goes through a JSON text.
type scanner struct {
	b  []byte
	at int
}

// blank passes over white space.
func (s *scanner) blank() {
	for s.at < len(s.b) {
		switch s.b[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}

// skip passes over c, if it is next.
func (s *scanner) skip(c byte) bool {
	s.blank()
	if s.at == len(s.b) || s.b[s.at] != c {
		return false
	}
	s.at++
	return true
}

func (s *scanner) member() (m member, ok bool) {
	if m.name, m.escapedName, ok = s.text(); !ok || !s.skip(':') {
		return m, false
	}
	s.blank()
	if s.at == len(s.b) {
		return m, false
	}
	switch s.b[s.at] {
	case '"':
		m.kind = text
		m.value, m.escaped, ok = s.text()
	case '{', '[':
		m.kind = composite
		m.value, ok = s.balanced()
	default:
		m.value = s.scalar()
		ok = len(m.value) > 0
	}
	return m, ok
}

// text reads a string, and returns what is between its quotes.
func (s *scanner) text() (value []byte, escaped, ok bool) {
	if !s.skip('"') {
		return nil, false, false
	}
	begin := s.at
	quote := s.quote()
	for quote >= 0 {
		n := bytes.IndexByte(s.b[s.at:quote], '\\')
		if n < 0 {
			s.at = quote + 1
			return s.b[begin:quote], escaped, true
		}
		escaped = true
		if s.at += n + 2; s.at > quote { // the quote itself is escaped
			quote = s.quote()
		}
	}
	return nil, false, false
}

// quote returns where the next quote is; -1: nowhere.
func (s *scanner) quote() int {
	if s.at > len(s.b) {
		return -1
	}
	n := bytes.IndexByte(s.b[s.at:], '"')
	if n < 0 {
		return -1
	}
	return s.at + n
}

// balanced reads an object or a list as it is.
func (s *scanner) balanced() (value []byte, ok bool) {
	begin, depth := s.at, 0
	for s.at < len(s.b) {
		switch s.b[s.at] {
		case '"':
			if _, _, ok := s.text(); !ok {
				return nil, false
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		s.at++
		if depth == 0 {
			return s.b[begin:s.at], true
		}
	}
	return nil, false
}

// scalar reads up to what ends a number or a word.
func (s *scanner) scalar() []byte {
	begin := s.at
	for s.at < len(s.b) {
		switch c := s.b[s.at]; {
		case c <= ' ', c == ',', c == '}', c == ']', c == '"', c == '{', c == '[', c == ':':
			return s.b[begin:s.at]
		}
		s.at++
	}
	return s.b[begin:]
}

// unquote resolves the escapes of a string, in place. What is no escape stays as it is. A
// surrogate without its other half becomes U+FFFD.
func unquote(b []byte) []byte {
	n := bytes.IndexByte(b, '\\')
	if n < 0 {
		return b
	}
	out, rest := b[:n], b[n:]
	for len(rest) > 0 {
		if rest[0] != '\\' {
			n := bytes.IndexByte(rest, '\\')
			if n < 0 {
				n = len(rest)
			}
			out, rest = append(out, rest[:n]...), rest[n:]
			continue
		}
		out, rest = unescape(out, rest)
	}
	return out
}

// unescape appends what the escape at the beginning of rest stands for.
func unescape(out, rest []byte) ([]byte, []byte) {
	if len(rest) < 2 {
		return append(out, rest...), nil
	}
	c := rest[1]
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		r, n := codePoint(rest)
		if n == 0 {
			return append(out, '\\', 'u'), rest[2:]
		}
		return utf8.AppendRune(out, r), rest[n:]
	default:
		return append(out, '\\', c), rest[2:]
	}
	return append(out, c), rest[2:]
}

// codePoint reads \uXXXX, or two of them that are one character, and returns how many bytes
// they have.
func codePoint(b []byte) (r rune, n int) {
	const size = 6
	r, ok := hex4(b)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, size
	}
	if low, ok := hex4(b[size:]); ok {
		if both := utf16.DecodeRune(r, low); both != utf8.RuneError {
			return both, 2 * size
		}
	}
	return utf8.RuneError, size
}

// hex4 reads \uXXXX.
func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	for _, c := range b[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
