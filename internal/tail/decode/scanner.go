package decode

// scanner goes through the members of a JSON object. It is as lenient as it can be without
// misplacing a member: values that are not looked at need only be balanced.
type scanner struct {
	b           []byte
	at          int
	key, keyEnd int // the member's key, quotes included
	from, to    int // its value
	ended       bool
}

// next goes to the next member; false: there is none, or b is no object. Only if ended is set
// was all of b an object.
func (s *scanner) next() bool {
	first := s.at == 0
	open := byte(',')
	if first {
		open = '{'
	}
	if !first && s.skip('}') {
		s.ended = s.blank() == len(s.b)
		return false
	}
	if !s.skip(open) {
		return false
	}
	if first && s.skip('}') {
		s.ended = s.blank() == len(s.b)
		return false
	}
	s.key = s.blank()
	if !s.text() {
		return false
	}
	s.keyEnd = s.at
	if !s.skip(':') {
		return false
	}
	s.from = s.blank()
	if !s.value() {
		return false
	}
	s.to = s.at
	return true
}

// blank passes over white space, and returns the place.
func (s *scanner) blank() int {
	for s.at < len(s.b) && (s.b[s.at] == ' ' || s.b[s.at] == '\t' || s.b[s.at] == '\r') {
		s.at++
	}
	return s.at
}

// skip passes over c, if it is next.
func (s *scanner) skip(c byte) bool {
	if s.blank() == len(s.b) || s.b[s.at] != c {
		return false
	}
	s.at++
	return true
}

// text passes over a string.
func (s *scanner) text() bool {
	if !s.skip('"') {
		return false
	}
	end := stringEnd(s.b[s.at:])
	s.at += end + 1
	return end >= 0
}

// value passes over a value: up to the comma or the bracket that ends it.
func (s *scanner) value() bool {
	depth, begun := 0, s.at
	for s.at < len(s.b) {
		switch s.b[s.at] {
		case '"':
			if !s.text() {
				return false
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return s.at > begun
			}
			depth--
		case ',':
			if depth == 0 {
				return s.at > begun
			}
		}
		s.at++
	}
	return false
}
