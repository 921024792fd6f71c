package config

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// place is where a key or a list's element is in the text. Lines and columns count from 1,
// columns and lengths in characters.
type place struct{ line, col, len int }

// scan finds where each key of a TOML text is. It needs no more of the grammar than that,
// since the parser has accepted the text; in one that the parser has not accepted, the
// places before the first mistake are right.
func scan(text string) map[string]place {
	s := &scanner{text: text, line: 1, index: make(map[string]place), arrays: make(map[string]int)}
	table := ""
	for s.skip(" \t\r\n"); s.at < len(s.text); s.skip(" \t\r\n") {
		if s.text[s.at] == '[' {
			table = s.header()
		} else {
			s.pair(table)
		}
		s.rest()
	}
	return s.index
}

// scanner walks over a text; every step goes forward, so it always ends.
type scanner struct {
	text      string
	at        int
	line      int
	lineBegin int // offset of the line's first byte
	index     map[string]place
	arrays    map[string]int // how many tables of an array were begun
	depth     int            // of values within values
}

// maxDepth is deeper than any settings go; a text that does has no places from there on.
const maxDepth = 32

// peek is the next byte, 0 at the end.
func (s *scanner) peek() byte {
	if s.at < len(s.text) {
		return s.text[s.at]
	}
	return 0
}

// step goes n bytes forward.
func (s *scanner) step(n int) {
	for end := min(s.at+n, len(s.text)); s.at < end; s.at++ {
		if s.text[s.at] == '\n' {
			s.line, s.lineBegin = s.line+1, s.at+1
		}
	}
}

// skip passes over blanks and comments.
func (s *scanner) skip(blanks string) {
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case strings.IndexByte(blanks, c) >= 0:
			s.step(1)
		case c == '#':
			s.rest()
		default:
			return
		}
	}
}

// rest passes over what is left of the line.
func (s *scanner) rest() {
	if end := strings.IndexByte(s.text[s.at:], '\n'); end >= 0 {
		s.step(end)
		return
	}
	s.at = len(s.text)
}

// put records that path begins at from, on this line, and ends here. Tables are named again
// by what is below them: the first place counts.
func (s *scanner) put(path string, from int) {
	if _, ok := s.index[path]; ok || from < s.lineBegin {
		return
	}
	part := strings.TrimRight(s.text[from:s.at], " \t")
	s.index[path] = place{s.line, utf8.RuneCountInString(s.text[s.lineBegin:from]) + 1, max(1,
		utf8.RuneCountInString(part))}
}

// header reads "[table]" or "[[table]]" and returns the table's path.
func (s *scanner) header() string {
	from := s.at
	brackets := 1 // two begin one more table of an array
	if strings.HasPrefix(s.text[s.at:], "[[") {
		brackets = 2
	}
	s.step(brackets)
	keys := s.keys()
	s.step(brackets)
	path := ""
	for i, key := range keys {
		path = child(path, key)
		s.put(path, from)
		if brackets == 2 && i == len(keys)-1 {
			s.arrays[path]++
		}
		if n := s.arrays[path]; n > 0 { // the newest is meant
			path = element(path, n-1)
			s.put(path, from)
		}
	}
	return path
}

// pair reads "key = value" of a table.
func (s *scanner) pair(table string) {
	from, path := s.at, table
	for _, key := range s.keys() {
		path = child(path, key)
		s.put(path, from)
	}
	s.step(1) // the equals sign
	s.value(path)
}

// keys reads a dotted key.
func (s *scanner) keys() (keys []string) {
	for {
		s.skipBlanks()
		from := s.at
		if c := s.peek(); c == '"' || c == '\'' {
			s.quoted(c)
			keys = append(keys, unquote(s.text[from:s.at]))
		} else {
			s.until(".=] \t\r\n")
			keys = append(keys, s.text[from:s.at])
		}
		end := s.at
		s.skipBlanks()
		if s.peek() != '.' {
			if s.peek() != '=' && s.peek() != ']' {
				s.at = end
			}
			return keys
		}
		s.step(1)
	}
}

func (s *scanner) skipBlanks() {
	for c := s.peek(); c == ' ' || c == '\t'; c = s.peek() {
		s.step(1)
	}
}

// value reads a value, and records the keys and elements inside.
func (s *scanner) value(path string) {
	const anyBlanks = " \t\r\n,"
	if s.depth++; s.depth > maxDepth {
		s.at = len(s.text)
	}
	defer func() { s.depth-- }()
	s.skipBlanks()
	switch c := s.peek(); c {
	case '"', '\'':
		s.quoted(c)
	case '[':
		s.step(1)
		for i := 0; ; i++ {
			s.skip(anyBlanks)
			if c := s.peek(); c == ']' || c == 0 {
				break
			}
			from, line := s.at, s.line
			s.value(element(path, i))
			if s.line == line {
				s.put(element(path, i), from)
			}
		}
		s.step(1)
	case '{':
		s.step(1)
		for s.skip(anyBlanks); s.peek() != '}' && s.peek() != 0; s.skip(anyBlanks) {
			s.pair(path)
		}
		s.step(1)
	default:
		from := s.at
		s.until(",]}# \t\r\n")
		if s.at == from { // no value: nothing that the parser lets pass
			s.step(1)
		}
	}
}

// quoted passes over a string that begins here with quote.
func (s *scanner) quoted(quote byte) {
	end := string(quote)
	if three := strings.Repeat(end, 3); strings.HasPrefix(s.text[s.at:], three) {
		end = three
	}
	s.step(len(end))
	for s.at < len(s.text) && !strings.HasPrefix(s.text[s.at:], end) {
		if s.text[s.at] == '\\' && quote == '"' {
			s.step(1)
		}
		s.step(1)
	}
	s.step(len(end))
	for len(end) == 3 && s.peek() == quote { // up to two quotes may be before the last three
		s.step(1)
	}
}

// until passes over what is none of these bytes.
func (s *scanner) until(ends string) {
	if n := strings.IndexAny(s.text[s.at:], ends); n >= 0 {
		s.step(n)
		return
	}
	s.step(len(s.text))
}

// unquote is the text of a quoted key.
func unquote(key string) string {
	if s, err := strconv.Unquote(key); err == nil && key[0] == '"' {
		return s
	}
	if len(key) < 2 {
		return key
	}
	return key[1 : len(key)-1]
}

func child(table, key string) string {
	if table == "" {
		return key
	}
	return table + "." + key
}

func element(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
