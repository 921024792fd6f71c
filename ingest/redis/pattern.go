package redis

import "strings"

// IsPattern reports whether a name of channels is a pattern.
func IsPattern(name string) bool { return strings.ContainsAny(name, `*?[\`) }

// first reports whether a message that came for a pattern, or for its channel ("" as
// pattern), is to be written. A server sends a message once for each of the subscriptions
// that it matches: it is written for the first of them.
func (r *channelReader) first(pattern, channel string) bool {
	if pattern == "" {
		return true
	}
	for _, c := range r.channels {
		if c == channel {
			return false
		}
	}
	for _, p := range r.patterns {
		if p == pattern {
			return true
		}
		if Matches(p, channel) {
			return false
		}
	}
	return true
}

// Matches reports whether a channel matches a pattern, byte by byte, as servers decide it:
//
//   - any bytes       [abc]  one of these     \x  the byte x itself
//     ?      one byte        [a-c]  one of these     [^a]  any byte but this
//
// A '[' without ']' ends with the pattern. No pattern matches a channel without a name.
// (Redis, PSUBSCRIBE.)
func Matches(pattern, channel string) bool {
	if channel == "" {
		return pattern == ""
	}
	star, again := -1, 0 // behind the last '*', and where to try it next
	p, c := 0, 0
	for c < len(channel) {
		if p < len(pattern) && pattern[p] == '*' {
			p++
			star, again = p, c
			continue
		}
		if p < len(pattern) {
			if next, ok := matchOne(pattern, p, channel[c]); ok {
				p, c = next, c+1
				continue
			}
		}
		if star < 0 {
			return false
		}
		again++
		p, c = star, again
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matchOne matches one byte with what is at p in a pattern, and returns what is behind that.
func matchOne(pattern string, p int, b byte) (next int, ok bool) {
	switch pattern[p] {
	case '?':
		return p + 1, true
	case '[':
		return matchSet(pattern, p+1, b)
	case '\\':
		if p+1 < len(pattern) {
			p++
		}
	}
	return p + 1, pattern[p] == b
}

// matchSet matches a byte with the set that begins at p.
func matchSet(pattern string, p int, b byte) (next int, ok bool) {
	not := p < len(pattern) && pattern[p] == '^'
	if not {
		p++
	}
	for p < len(pattern) && pattern[p] != ']' {
		low := pattern[p]
		switch {
		case low == '\\' && p+1 < len(pattern):
			p++
			ok = ok || pattern[p] == b
		case p+2 < len(pattern) && pattern[p+1] == '-':
			high := pattern[p+2]
			p += 2
			ok = ok || min(low, high) <= b && b <= max(low, high)
		default:
			ok = ok || low == b
		}
		p++
	}
	return min(p+1, len(pattern)), ok != not
}
