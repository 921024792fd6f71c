// Package escape makes untrusted text safe to display. Bytes that could move a terminal's
// cursor, end a line or reverse the order of characters are written as rsyslog writes
// them: # and three octal digits for each byte. The layout of the log, the commands that
// print and the log's own notices share these rules:
//
//	control bytes below 0x20 except TAB, and 0x7f      escaped
//	U+0080 to U+009F (C1), U+2028, U+2029 (line ends),
//	U+202A to U+202E, U+2066 to U+2069 (bidirectional) each byte escaped
//	a byte 0x80 to 0x9f outside of a valid rune        escaped: some terminals read it as C1
//	all else, also other bytes outside of a valid rune kept
package escape

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// Line appends line to dst, with the harmful bytes escaped. It adds no line end and leaves
// none.
func Line(dst, line []byte) []byte {
	del := -1 // where the next 0x7f is; < 0: that is not known
	for {
		n := Printable(line)
		if n < len(line) {
			if del < n { // looked for once, and not behind each byte that is escaped
				del = indexDEL(line, n)
			}
			n = skipMore(line[:del], n)
		}
		dst = append(dst, line[:n]...)
		if n == len(line) {
			return dst
		}
		line, del = line[n:], del-n
		n = 1
		if _, size := utf8.DecodeRune(line); size > 1 {
			n = size // a rune that is escaped is escaped as a whole
		}
		for _, c := range line[:n] {
			dst = append(dst, '#', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
		}
		for n < len(line) && line[n] < 0x20 && line[n] != '\t' { // they often come together
			dst = append(dst, '#', '0', '0'+line[n]>>3, '0'+line[n]&7)
			n++
		}
		line, del = line[n:], del-n
	}
}

// Rune reports whether a valid rune is harmful.
func Rune(r rune) bool {
	switch {
	case r < 0x20:
		return r != '\t'
	case r < 0x7f:
		return false
	}
	return r < 0xa0 || 0x2028 <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069
}

const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
)

// Harmless returns how many bytes at the beginning of line stay as they are. Nearly every
// line stays as a whole, and besides copying this is the only work done for every byte of
// the log. So it examines many bytes at a time, and single runes only where a byte is
// unusual.
func Harmless(line []byte) int {
	n := Printable(line)
	return skipMore(line[:indexDEL(line, n)], n)
}

// indexDEL returns where the first 0x7f is in line, from n on; its length if there is none.
func indexDEL(line []byte, n int) int {
	if del := bytes.IndexByte(line[n:], 0x7f); del >= 0 {
		return n + del
	}
	return len(line)
}

// skipMore is Harmless for a line without 0x7f, whose first n bytes are harmless ASCII: the
// functions that skip many bytes need not check for it.
func skipMore(line []byte, n int) int {
	for n < len(line) {
		begin := n
		if line[n] < 0xe0 {
			n = skipPairs(line, n)
		} else {
			n = skipTriples(line, n)
		}
		if n = skipRunes(line, n); n == len(line) {
			break
		}
		if n-begin >= window {
			continue
		}
		size := harmless(line[n:])
		if size == 0 {
			return n
		}
		n += size
		n += Printable(line[n:])
	}
	return n
}

// harmless returns how many bytes the first character of line has, or 0 if it is harmful.
func harmless(line []byte) int {
	c := line[0]
	if c < utf8.RuneSelf {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return 0
		}
		return 1
	}
	r, size := utf8.DecodeRune(line)
	if size == 1 && c < 0xa0 || size > 1 && Rune(r) {
		return 0
	}
	return size
}

const window = 32

// Printable returns how many bytes at the beginning of text are printable ASCII, which Line leaves as
// they are. Most lines are nothing else, so it finds their ends, too.
func Printable(text []byte) int {
	le := binary.LittleEndian
	rest := text
	for len(rest) >= window {
		a, b, c, d := le.Uint64(rest), le.Uint64(rest[8:]), le.Uint64(rest[16:]), le.Uint64(rest[24:])
		if (strange(a)|strange(b)|strange(c)|strange(d))&highs != 0 {
			break
		}
		rest = rest[window:]
	}
	for len(rest) >= 8 {
		if found := strange(le.Uint64(rest)) & highs; found != 0 {
			return len(text) - len(rest) + bits.TrailingZeros64(found)/8
		}
		rest = rest[8:]
	}
	for i, c := range rest {
		if c < 0x20 || c >= 0x7f {
			return len(text) - len(rest) + i
		}
	}
	return len(text)
}

// strange has a high bit set if one of the eight bytes of w is not printable ASCII. The lowest of
// these bits is that of the first such byte; those above say nothing.
func strange(w uint64) uint64 { return (w - 0x20*ones) | (w + ones) }

// skipPairs skips windows, from n on, of printable ASCII and of runes of two bytes
// whose first is 0xd0 to 0xdf: Cyrillic, Hebrew, Arabic and others. n is at the beginning
// of a rune, before and after.
//
// Bits 5 and 6 of a byte are both clear in control bytes (except 0x7f) and in 0x80 to 0x9f.
// Both must be examined, except that the latter may directly follow a first byte of two:
// then the two are a valid rune, whatever surrounds them.
func skipPairs(line []byte, n int) int {
	le := binary.LittleEndian
	begin := n
	before := uint64(0) // 0x80: the byte before n is a first byte
	for n < len(line) && len(line) >= window {
		at := n
		if last := len(line) - window; at > last { // overlap with bytes that were examined
			at, before = last, 0
			if at > 0 {
				before = first(uint64(line[at-1])) & 0x80
			}
		}
		p := line[at : at+window : at+window]
		a, b, c, d := le.Uint64(p), le.Uint64(p[8:]), le.Uint64(p[16:]), le.Uint64(p[24:])
		fa, fb, fc, fd := first(a), first(b), first(c), first(d)
		good := usual(a, fa<<8|before) & usual(b, fb<<8|fa>>56) & usual(c, fc<<8|fb>>56) & usual(d, fd<<8|fc>>56)
		if good&highs != highs {
			break
		}
		before = fd >> 56
		n = at + window
	}
	return runeStart(line, begin, n)
}

// first has the high bits of the bytes that are 0xd0 to 0xdf. The other bits mean nothing,
// here and in usual.
func first(w uint64) uint64 { return w & (w << 1) & (w << 3) &^ (w << 2) }

// usual has the high bits of the bytes that need not be examined: behind has those of the
// bytes after a first byte.
func usual(w, behind uint64) uint64 {
	return w<<1 | w<<2 | behind&w
}

// skipTriples skips runes of three bytes, eight at a time, from n on, but for those
// whose first byte is 0xe0, 0xe2 or 0xed: these must be examined.
func skipTriples(line []byte, n int) int {
	const a, b, c = 0x00ff0000ff0000ff, 0xff0000ff0000ff00, 0x0000ff0000ff0000 // positions of first bytes: none twice
	le := binary.LittleEndian
	for ; len(line)-n >= 24; n += 24 {
		p := line[n : n+24 : n+24]
		u, v, w := le.Uint64(p), le.Uint64(p[8:]), le.Uint64(p[16:])
		first := u&a | v&b | w&c
		usual := (first&(0x0d*ones) + 0x7f*ones) & ((first^0x0d*ones)&(0x0f*ones) + 0x7f*ones)
		// All have bit 7. First ones have bits 6 and 5, and not 4; others do not have bit 6.
		if (^(u&v&w&(first<<2)&usual)|first<<3|(u<<1^a)|(v<<1^b)|(w<<1^c))&highs != 0 {
			break
		}
	}
	return n
}

// skipRunes skips up to four words of eight bytes, from n on, with any mixture of what
// Printable, skipPairs and skipTriples skip. The line's last word is padded with spaces.
func skipRunes(line []byte, n int) int {
	le := binary.LittleEndian
	begin := n
	behind := uint64(0) // the high bits of the bytes that belong to runes before
	for stop := min(n+window, len(line)); n < stop && len(line) >= 8; {
		var w uint64
		if len(line)-n >= 8 {
			w = le.Uint64(line[n:])
		} else {
			short := 8 * uint(len(line)-n)
			w = le.Uint64(line[len(line)-8:])>>(64-short) | 0x20*ones<<short
		}
		t1, t2, t3 := w<<1, w<<2, w<<3
		heads := w & t1 & highs
		two := heads & t3 &^ t2
		tails := two<<8 | behind
		behind = two >> 56
		if three := heads & t2 &^ t3; three != 0 {
			three &= (w<<4 | w<<5 | w<<7) &^ (w << 4 & (w << 5) & (w << 7) &^ (w << 6))
			tails |= three<<8 | three<<16
			behind |= three>>56 | three>>48
		}
		if bad := highs &^ ((t1 | t2 | tails) & (w&^t1 | ^tails)); bad != 0 {
			n += bits.TrailingZeros64(bad) / 8
			break
		}
		n += 8
	}
	return runeStart(line, begin, min(n, len(line)))
}

// runeStart moves n back to the beginning of a rune that may continue at n, but not before
// begin.
func runeStart(line []byte, begin, n int) int {
	for back := n - 1; back >= max(begin, n-utf8.UTFMax+1); back-- {
		if utf8.RuneStart(line[back]) {
			if !utf8.FullRune(line[back:n]) {
				return back
			}
			break
		}
	}
	return n
}
