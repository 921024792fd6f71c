package escape

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"strconv"
	"unicode/utf8"
)

const hex = "0123456789abcdef"

// JSON appends line to dst as the content of a JSON string (RFC 8259). The characters that
// Line escapes, and TAB, are escaped as in JSON, so that a reader gets the line back.
// Bytes that are not UTF-8 become U+FFFD, because a JSON text cannot contain them.
func JSON(dst, line []byte) []byte {
	for {
		n := plain(line)
		dst = append(dst, line[:n]...)
		if line = line[n:]; len(line) == 0 {
			return dst
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
}

// Unescape appends to dst what text, the content of a JSON string that JSON wrote, was made of.
// What JSON does not write stays as it is.
func Unescape(dst, text []byte) []byte {
	for {
		n := bytes.IndexByte(text, '\\')
		if n < 0 || n+1 == len(text) {
			return append(dst, text...)
		}
		dst, text = append(dst, text[:n]...), text[n:]
		size := 2
		switch c := text[1]; {
		case c == '"' || c == '\\':
			dst = append(dst, c)
		case c == 'u' && len(text) >= 6:
			r, err := strconv.ParseUint(string(text[2:6]), 16, 16)
			if size = 6; err != nil {
				dst = append(dst, text[:size]...)
				break
			}
			dst = utf8.AppendRune(dst, rune(r))
		default:
			dst = append(dst, text[:size]...)
		}
		text = text[size:]
	}
}

// plain returns how many bytes at the beginning of line need no escaping in a JSON string.
func plain(line []byte) int {
	n := Unquoted(line)
	for n < len(line) && line[n] >= utf8.RuneSelf {
		runes := skipValid(line[n:])
		if runes == 0 {
			break
		}
		n += runes
		n += Unquoted(line[n:])
	}
	return n
}

// Unquoted returns how many bytes at the beginning of line are printable ASCII but no quotes and
// backslashes, which JSON leaves as they are.
func Unquoted(line []byte) int {
	le := binary.LittleEndian
	rest := line
	for len(rest) >= window {
		a, b, c, d := le.Uint64(rest), le.Uint64(rest[8:]), le.Uint64(rest[16:]), le.Uint64(rest[24:])
		if (quotable(a)|quotable(b)|quotable(c)|quotable(d))&highs != 0 {
			break
		}
		rest = rest[window:]
	}
	for len(rest) >= 8 {
		if found := quotable(le.Uint64(rest)) & highs; found != 0 {
			return len(line) - len(rest) + bits.TrailingZeros64(found)/8
		}
		rest = rest[8:]
	}
	for i, c := range rest {
		if c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			return len(line) - len(rest) + i
		}
	}
	return len(line)
}

// quotable has a high bit set if one of the eight bytes of w is not printable ASCII, a quote, or
// a backslash. Of these bits, the lowest is as that of strange.
func quotable(w uint64) uint64 { return strange(w) | (w ^ '"'*ones - ones) | (w ^ '\\'*ones - ones) }

// skipValid skips valid runes that are not ASCII, and harmless, and single spaces between them.
func skipValid(line []byte) (n int) {
	for n < len(line) && line[n] >= utf8.RuneSelf {
		begin := n
		if n = skipValidTriples(line, skipValidPairs(line, n)); n > begin {
			continue
		}
		r, size := utf8.DecodeRune(line[n:])
		if size == 1 || Rune(r) {
			break
		}
		n += size
	}
	return n
}

// skipValidPairs skips runes of two bytes, from n on, but for those behind 0xc2: C1 controls are.
func skipValidPairs(line []byte, n int) int {
	for n+1 < len(line) && 0xc3 <= line[n] && line[n] <= 0xdf && line[n+1]&0xc0 == 0x80 {
		n += 2
		if n+1 < len(line) && line[n] == ' ' && line[n+1] >= utf8.RuneSelf {
			n++
		}
	}
	return n
}

// skipValidTriples skips runes of three bytes, from n on, but for those behind 0xe0, 0xe2, and 0xed to
// 0xef: of these, some are invalid or harmful, or rare.
func skipValidTriples(line []byte, n int) int {
	for n+2 < len(line) && 0xe3 <= line[n] && line[n] <= 0xec && line[n+1]&0xc0 == 0x80 && line[n+2]&0xc0 == 0x80 {
		n += 3
	}
	return n
}
