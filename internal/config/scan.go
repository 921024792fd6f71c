package config

import (
	"fmt"
	"strings"
)

// place is where a key stands in the text; lines and columns count from 1.
type place struct{ line, col, len int }

// scan finds where each key of a valid TOML text stands. It needs no more of the
// grammar than that: the text was parsed already.
func scan(lines []string) map[string]place {
	s := &scanner{index: make(map[string]place), arrays: make(map[string]int)}
	for i, line := range lines {
		s.line(i+1, line)
	}
	return s.index
}

type scanner struct {
	index  map[string]place
	arrays map[string]int // how many tables of an array were begun
	table  string
	within string // `"""`, `'''` or the brackets still open of a value over several lines
	depth  int
}

func (s *scanner) line(n int, line string) {
	if s.within != "" {
		if i := strings.Index(line, s.within); i >= 0 {
			line, s.within = line[i+3:], ""
			s.value(line)
		}
		return
	}
	if s.depth > 0 {
		s.value(line)
		return
	}
	text := strings.TrimLeft(line, " \t")
	col := len(line) - len(text) + 1
	switch {
	case strings.HasPrefix(text, "[["):
		name := joinKeys(splitKeys(text[2:], "]"))
		s.table = fmt.Sprintf("%s[%d]", s.resolve(name), s.arrays[s.resolve(name)])
		s.arrays[s.resolve(name)]++
		s.put(s.table, n, col, len(strings.TrimRight(text, " \t\r")))
	case strings.HasPrefix(text, "["):
		s.table = s.resolve(joinKeys(splitKeys(text[1:], "]")))
		s.put(s.table, n, col, len(strings.TrimRight(text, " \t\r")))
	case text == "" || text[0] == '#':
	default:
		s.key(n, col, text, s.table)
	}
}

// resolve names the newest element of each array of tables on the way.
func (s *scanner) resolve(name string) string {
	parts := strings.Split(name, ".")
	path := ""
	for i, p := range parts {
		path = child(path, p)
		if c := s.arrays[path]; c > 0 && i < len(parts)-1 {
			path = fmt.Sprintf("%s[%d]", path, c-1)
		}
	}
	return path
}

// key takes down `key = value`, and the keys of an inline table inside.
func (s *scanner) key(n, col int, text, table string) {
	keys := splitKeys(text, "=")
	eq := strings.IndexByte(text, '=')
	if len(keys) == 0 || eq < 0 {
		return
	}
	path := table
	for _, k := range keys {
		path = child(path, k)
	}
	s.put(path, n, col, len(strings.TrimRight(text[:eq], " \t")))
	value := strings.TrimLeft(text[eq+1:], " \t")
	if strings.HasPrefix(value, "{") {
		s.inline(n, col+len(text)-len(value)+1, value[1:], path)
	}
	s.value(text[eq+1:])
}

// inline takes down the keys of an inline table on one line.
func (s *scanner) inline(n, col int, text, path string) {
	for {
		trimmed := strings.TrimLeft(text, " \t")
		col += len(text) - len(trimmed)
		keys := splitKeys(trimmed, "=")
		eq := strings.IndexByte(trimmed, '=')
		if len(keys) == 0 || eq < 0 {
			return
		}
		s.put(child(path, joinKeys(keys)), n, col, len(strings.TrimRight(trimmed[:eq], " \t")))
		end := eq + 1 + endOfValue(trimmed[eq+1:])
		if end >= len(trimmed) || trimmed[end] != ',' {
			return
		}
		col += end + 1
		text = trimmed[end+1:]
	}
}

// endOfValue is where a value of an inline table ends: at its comma or brace.
func endOfValue(text string) int {
	var quote byte
	depth := 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0:
			if c == '\\' && quote == '"' {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '[' || c == '{':
			depth++
		case depth > 0 && (c == ']' || c == '}'):
			depth--
		case depth == 0 && (c == ',' || c == '}'):
			return i
		}
	}
	return len(text)
}

// value follows strings and brackets to know whether the next line is still of
// the same value.
func (s *scanner) value(text string) {
	var quote byte
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quote != 0:
			if c == '\\' && quote == '"' {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			if three := strings.Repeat(string(c), 3); strings.HasPrefix(text[i:], three) {
				end := strings.Index(text[i+3:], three)
				if end < 0 {
					s.within = three
					return
				}
				i += 3 + end + 2
				continue
			}
			quote = c
		case c == '#':
			return
		case c == '[' || c == '{':
			s.depth++
		case c == ']' || c == '}':
			s.depth = max(0, s.depth-1)
		}
	}
}

func (s *scanner) put(path string, line, col, length int) {
	if _, ok := s.index[path]; !ok {
		s.index[path] = place{line, col, max(1, length)}
	}
}

// splitKeys reads a dotted key up to one of the end bytes.
func splitKeys(text, end string) []string {
	var keys []string
	for {
		text = strings.TrimLeft(text, " \t")
		if text == "" {
			return keys
		}
		var key string
		if q := text[0]; q == '"' || q == '\'' {
			i := strings.IndexByte(text[1:], q)
			if i < 0 {
				return keys
			}
			key, text = text[1:1+i], text[i+2:]
		} else {
			i := strings.IndexAny(text, ". \t"+end)
			if i < 0 {
				i = len(text)
			}
			key, text = text[:i], text[i:]
		}
		keys = append(keys, key)
		text = strings.TrimLeft(text, " \t")
		if !strings.HasPrefix(text, ".") {
			return keys
		}
		text = text[1:]
	}
}

func joinKeys(keys []string) string { return strings.Join(keys, ".") }

func child(table, key string) string {
	if table == "" {
		return key
	}
	return table + "." + key
}
