package escape

import "unicode/utf8"

const hex = "0123456789abcdef"

// JSON appends line to dst as the content of a JSON string (RFC 8259). The characters that
// Line escapes, and TAB, are escaped as in JSON, so that a reader gets the line back.
// Bytes that are not UTF-8 become U+FFFD, because a JSON text cannot contain them.
func JSON(dst, line []byte) []byte {
	for len(line) > 0 {
		n := plain(line)
		dst = append(dst, line[:n]...)
		if line = line[n:]; len(line) == 0 {
			break
		}
		r, size := utf8.DecodeRune(line)
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\t' || Rune(r):
			dst = append(dst, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
		line = line[size:]
	}
	return dst
}

// plain returns how many bytes at the beginning of line need no escaping in a JSON string.
func plain(line []byte) int {
	n := 0
	for n < len(line) {
		c := line[n]
		if c < utf8.RuneSelf {
			if c < 0x20 || c == '"' || c == '\\' || c == 0x7f {
				return n
			}
			n++
			continue
		}
		r, size := utf8.DecodeRune(line[n:])
		if size == 1 || Rune(r) {
			return n
		}
		n += size
	}
	return n
}
